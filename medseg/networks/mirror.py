"""What the networks share whose decoder mirrors the encoder and unpools to its places."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from medseg.networks.arguments import check_levels, per_level
from medseg.networks.blocks import crop_to, make_norm, pad_to_divisor, same_conv
from medseg.networks.stepped import SteppedNetwork
from medseg.networks.unpooling import max_pool, unpool


class MirrorNetwork(SteppedNetwork):
    """Encoder stages with pooling; decoder stages that unpool to the places it left; a head.

    A network of this kind appends one stage per level to ``encoder`` and to ``decoder``, both
    finest first, and sets ``head``.

    Parameters
    ----------
    widths : sequence of int
        Feature channels of each level, finest first.
    **arguments
        Of `medseg.networks.stepped.SteppedNetwork`; ``strides`` are the pooling windows of the
        levels.
    """

    head: nn.Module

    def __init__(self, *, widths: Sequence[int], **arguments: Any) -> None:
        super().__init__(check_levels(widths), **arguments)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        x = self.pad(image)
        places = []
        for stage, step in zip(self.encoder, self.strides, strict=True):
            x, where = max_pool(stage(x), step)
            places.append(where)
        x = self.between(x)
        for level in reversed(range(len(places))):
            x = self.decoder[level](unpool(x, places[level], self.strides[level]))
        return crop_to(self.head(x), image.shape[2:])

    def pad(self, image: Tensor) -> Tensor:
        """Pad an image to a size that the network takes."""
        return pad_to_divisor(image, self.divisor)

    def between(self, x: Tensor) -> Tensor:
        """Map what the encoder ends in to what the decoder begins with: here the same."""
        return x


def vgg_counts(convs: int | Sequence[int] | None, levels: int) -> tuple[int, ...]:
    """Return the convolutions of each level; by default those of VGG16: 2, 2, 3, 3, 3."""
    default = (2, 2, *(3,) * levels)[:levels]
    return per_level(default if convs is None else convs, levels, "network.arguments.convs")


def conv_row(ndim: int, widths: Sequence[int], kernel: tuple[int, ...], norm: str) -> nn.Sequential:
    """Return convolutions with bias from each width to the next, with norm and ReLU."""
    layers: list[nn.Module] = []
    for channels, width in pairwise(widths):
        layers.append(same_conv(ndim, channels, width, kernel, (1,) * ndim, bias=True))
        layers.append(make_norm(norm, ndim, width))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)
