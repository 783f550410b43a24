"""The decoders of SETR: a row of convolutions on one map, or several maps summed top down [1]_.

References
----------
.. [1] Zheng et al., Rethinking semantic segmentation from a sequence-to-sequence perspective with
   transformers, CVPR 2021, section 3.3 and figure 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.blocks import init_weights
from medseg.networks.encoders.base import Axes
from medseg.networks.heads import classifier
from medseg.networks.layers import ConvNormAct, conv_units, resize


class RowHead(nn.Module):
    """Layer norm of one map, convolutions each followed by interpolation, logits."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        width: int,
        num_classes: int,
        level: int,
        convs: int,
        kernel: Axes,
        factor: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.level, self.factor = level, factor
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.convs = nn.ModuleList(
            conv_units(ndim, channels, width, convs, kernel=kernel, norm=norm)
        )
        self.classify = classifier(ndim, width, num_classes, dropout)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits, larger than the map by the factor of each convolution."""
        x = self.norm(maps[self.level].movedim(1, -1)).movedim(-1, 1)
        for conv in self.convs:
            x = conv(x)
            x = resize(x, [n * self.factor for n in x.shape[2:]])
        logits: Tensor = self.classify(x)
        return logits


class AggregateHead(nn.Module):
    """Each map projected, summed with the deeper ones, convolved; all side by side to logits."""

    def __init__(
        self,
        ndim: int,
        count: int,
        channels: int,
        num_classes: int,
        kernel: Axes,
        width: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()

        def units(given: int, made: int, kernel: Axes) -> nn.ModuleList:
            return nn.ModuleList(
                ConvNormAct(ndim, given, made, kernel=kernel, norm=norm) for _ in range(count)
            )

        half = max(1, width // 2)
        self.norms = nn.ModuleList(nn.LayerNorm(channels, eps=1e-6) for _ in range(count))
        self.project = units(channels, width, (1,) * ndim)
        self.smooth = units(width, width, kernel)
        self.narrow, self.refine = units(width, half, kernel), units(half, half, kernel)
        self.classify = classifier(ndim, count * half, num_classes, dropout)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at four times the size of the maps."""
        projected = [
            project(norm(x.movedim(1, -1)).movedim(-1, 1))
            for project, norm, x in zip(self.project, self.norms, maps, strict=True)
        ]
        total, streams = torch.zeros_like(projected[-1]), []
        for i in reversed(range(len(maps))):  # the deepest layer first
            total = total + projected[i]
            x = self.refine[i](self.narrow[i](self.smooth[i](total)))
            streams.append(resize(x, [4 * n for n in x.shape[2:]]))
        logits: Tensor = self.classify(torch.cat(streams, dim=1))
        return logits
