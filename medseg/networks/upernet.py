"""Unified perceptual parsing network in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.blocks import init_weights
from medseg.networks.context.ppm import PyramidPooling
from medseg.networks.encoders import Encoder
from medseg.networks.headed import HeadedNetwork
from medseg.networks.heads import classifier
from medseg.networks.layers import ConvNormAct, resize


class UPerNet(HeadedNetwork):
    """A feature pyramid with pyramid pooling on top, all its levels fused at the finest [1]_.

    64.05 M parameters with 19 classes in 2-D, without the auxiliary head. In 3-D take 256
    channels: the fusion is at a quarter of the image's resolution.

    Parameters
    ----------
    bins : sequence of int
        Regions per axis of each pooled branch.
    **arguments
        Of `medseg.networks.headed.HeadedNetwork`, whose encoder keeps its strides here.

    References
    ----------
    .. [1] Xiao et al., Unified perceptual parsing for scene understanding, ECCV 2018.
    """

    def __init__(
        self,
        *,
        bins: Sequence[int] = (1, 2, 3, 6),
        output_stride: int | Sequence[int] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(partial(_Head, bins=bins), output_stride=output_stride, **arguments)


class _Head(nn.Module):
    """Laterals, pooling on the coarsest map, the way down, fusion, logits."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        ndim: int,
        channels: int,
        bins: Sequence[int],
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        kernel, one, given = encoder.kernel, (1,) * ndim, encoder.channels[1:]
        self.laterals = nn.ModuleList(
            ConvNormAct(ndim, c, channels, kernel=one, norm=norm) for c in given[:-1]
        )
        self.top = PyramidPooling(ndim, given[-1], channels, bins=bins, kernel=kernel, norm=norm)
        self.smooth = nn.ModuleList(
            ConvNormAct(ndim, channels, channels, kernel=kernel, norm=norm) for _ in given[:-1]
        )
        self.fuse = ConvNormAct(ndim, len(given) * channels, channels, kernel=kernel, norm=norm)
        self.classify = classifier(ndim, channels, num_classes, dropout)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the first stage's map."""
        levels = [f(x) for f, x in zip(self.laterals, maps[1:-1], strict=True)]
        levels.append(self.top(maps[-1]))
        for i in reversed(range(len(levels) - 1)):
            levels[i] = levels[i] + resize(levels[i + 1], levels[i].shape[2:])
        smooth = [f(x) for f, x in zip(self.smooth, levels[:-1], strict=True)]
        finest = smooth[0].shape[2:]
        fused = self.fuse(torch.cat([resize(x, finest) for x in (*smooth, levels[-1])], dim=1))
        logits: Tensor = self.classify(fused)
        return logits
