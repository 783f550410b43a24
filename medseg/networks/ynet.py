"""Y-Net in 2-D and 3-D: segmentation and classification together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.blocks import CONV, crop_to, init_weights, pad_to_divisor
from medseg.networks.context.spatial_pyramid import RATES, SpatialPyramid
from medseg.networks.layers import ConvNormAct, resize
from medseg.networks.output import Prediction
from medseg.networks.stepped import SteppedNetwork


class YNet(SteppedNetwork):
    """U-Net of efficient spatial pyramids with a second branch that tells which classes occur [1]_.

    The branch reads the coarsest map, averaged, through two linear layers. It is trained by
    ``extras["presence"]``, whether each class occurs in the image, since a segmentation
    holds that answer; [1]_ has a diagnosis to learn. The paper's number of parameters depends on
    its width multiplier: unverified.

    Parameters
    ----------
    widths : sequence of int
        Feature channels of each level, finest first, multiples of 4.
    blocks : int
        Efficient spatial pyramids per level on the way down, the strided one apart.
    dense_width : int
        Of the branch.
    **arguments
        Of `medseg.networks.stepped.SteppedNetwork`; one step into each level.

    References
    ----------
    .. [1] Mehta et al., Y-Net: joint segmentation and classification for diagnosis of breast biopsy
       images, MICCAI 2018.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks: int = 2,
        dense_width: int = 256,
        **arguments: Any,
    ) -> None:
        if any(w % len(RATES) for w in widths):
            raise ConfigError(
                f"network.arguments.widths is {tuple(widths)}; each is a multiple of {len(RATES)}"
            )
        super().__init__(len(widths), **arguments)
        ndim, kernel, norm, channels = self.ndim, self.kernel, self.norm, self.in_channels
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()  # finest first
        for width, step in zip(widths, self.strides, strict=True):
            down = ConvNormAct(ndim, channels, width, kernel=kernel, stride=step, norm=norm)
            pyramids = [SpatialPyramid(ndim, width, kernel, norm) for _ in range(blocks)]
            self.encoder.append(nn.Sequential(down, *pyramids))
            channels = width
        for above, below in pairwise(widths):
            reduce = ConvNormAct(ndim, above + below, above, kernel=(1,) * ndim, norm=norm)
            self.decoder.append(nn.Sequential(reduce, SpatialPyramid(ndim, above, kernel, norm)))
        self.head = CONV[ndim](widths[0], self.num_classes, 1)
        self.presence = nn.Sequential(
            nn.Linear(widths[-1], dense_width), nn.ReLU(), nn.Linear(dense_width, self.num_classes)
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
