"""Y-Net in 2-D and 3-D: segmentation and classification together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.arguments import divisor_of, odd_kernel, window_steps
from medseg.networks.blocks import CONV, crop_to, init_weights, make_norm, pad_to_divisor
from medseg.networks.layers import ConvNormAct, resize
from medseg.networks.output import Prediction

RATES = (1, 2, 4, 8)


class YNet(nn.Module):
    """U-Net of efficient spatial pyramids with a second branch that tells which classes occur [1]_.

    The branch reads the coarsest map, averaged, through two linear layers. It is trained by
    ``extras["presence"]``, whether each class occurs in the image, since a segmentation
    holds that answer; [1]_ has a diagnosis to learn. The paper's number of parameters depends on
    its width multiplier: unverified.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    widths : sequence of int
        Feature channels of each level, finest first, multiples of 4.
    blocks : int
        Efficient spatial pyramids per level on the way down, the strided one apart.
    dense_width : int
        Of the branch.
    strides : sequence of (int or tuple of int), optional
        Step into each level; default 2.
    kernel_size : int or tuple of int
        Odd side of all convolutions.
    norm : {"batch", "instance", "group", "none"}

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.

    References
    ----------
    .. [1] Mehta et al., Y-Net: joint segmentation and classification for diagnosis of breast biopsy
       images, MICCAI 2018.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks: int = 2,
        dense_width: int = 256,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_size: int | Sequence[int] = 3,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.ndim = ndim
        if any(w % len(RATES) for w in widths):
            raise ConfigError(
                f"network.widths is {tuple(widths)}; each is a multiple of {len(RATES)}"
            )
        kernel = odd_kernel(kernel_size, ndim)
        steps = window_steps(strides, len(widths), ndim)
        self.divisor = divisor_of(steps)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()  # finest first
        channels = in_channels
        for width, step in zip(widths, steps, strict=True):
            down = ConvNormAct(ndim, channels, width, kernel=kernel, stride=step, norm=norm)
            pyramids = [SpatialPyramid(ndim, width, kernel, norm) for _ in range(blocks)]
            self.encoder.append(nn.Sequential(down, *pyramids))
            channels = width
        for above, below in pairwise(widths):
            reduce = ConvNormAct(ndim, above + below, above, kernel=(1,) * ndim, norm=norm)
            self.decoder.append(nn.Sequential(reduce, SpatialPyramid(ndim, above, kernel, norm)))
        self.head = CONV[ndim](widths[0], num_classes, 1)
        self.presence = nn.Sequential(
            nn.Linear(widths[-1], dense_width), nn.ReLU(), nn.Linear(dense_width, num_classes)
        )
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        padded = pad_to_divisor(image, self.divisor)
        maps, x = [], padded
        for stage in self.encoder:
            x = stage(x)
            maps.append(x)
        for level in reversed(range(len(self.decoder))):
            skip = maps[level]
            x = self.decoder[level](torch.cat((skip, resize(x, skip.shape[2:])), dim=1))
        logits = crop_to(resize(self.head(x), padded.shape[2:]), image.shape[2:])
        if not self.training:
            return logits
        scores = self.presence(maps[-1].flatten(2).mean(2))
        cells = scores.view(*scores.shape, *(1,) * (image.ndim - 2))
        return Prediction(logits, extras={"presence": cells})


class SpatialPyramid(nn.Module):
    """Reduce, convolve at four rates, add up from rate to rate, concatenate, add the input [1]_.

    References
    ----------
    .. [1] Mehta et al., ESPNet: efficient spatial pyramid of dilated convolutions for semantic
       segmentation, ECCV 2018, section 3.1.
    """

    def __init__(self, ndim: int, channels: int, kernel: tuple[int, ...], norm: str) -> None:
        super().__init__()
        narrow, conv = channels // len(RATES), CONV[ndim]
        self.reduce = conv(channels, narrow, 1, bias=False)
        self.branches = nn.ModuleList(
            conv(
                narrow,
                narrow,
                kernel,  # type: ignore[arg-type]
                padding=tuple(rate * (k // 2) for k in kernel),  # type: ignore[arg-type]
                dilation=rate,
                bias=False,
            )
            for rate in RATES
        )
        self.norm = nn.Sequential(make_norm(norm, ndim, channels), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to the same shape."""
        narrow = self.reduce(x)
        made = [self.branches[0](narrow)]
        for branch in self.branches[1:]:
            made.append(made[-1] + branch(narrow))
        out: Tensor = self.norm(x + torch.cat(made, dim=1))
        return out
