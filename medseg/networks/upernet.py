"""Unified perceptual parsing network in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import init_weights
from medseg.networks.context.ppm import PyramidPooling
from medseg.networks.encoders import Encoder, build_encoder
from medseg.networks.heads import auxiliary_head, classifier
from medseg.networks.layers import ConvNormAct, resize, scaled


class UPerNet(EncoderNetwork):
    """A feature pyramid with pyramid pooling on top, all its levels fused at the finest [1]_.

    64.05 M parameters with 19 classes in 2-D, without the auxiliary head. In 3-D take 256
    channels: the fusion is at a quarter of the image's resolution.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    encoder : str
        A key of `medseg.networks.encoders.ENCODERS`.
    width : float
        Multiplies the channels of encoder and heads; 0.5 is a fair start in 3-D.
    channels : int
        Of the pyramid, before ``width``.
    bins : sequence of int
        Regions per axis of each pooled branch.
    norm : {"instance", "batch", "group", "none"}
        Of encoder and heads; pooled branches have none.
    dropout : float
        Probability for a whole channel before the logits.
    auxiliary : bool
        In training, also return the logits of a head on the last map but one.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``multigrid``, ...

    References
    ----------
    .. [1] Xiao et al., Unified perceptual parsing for scene understanding, ECCV 2018.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        encoder: str = "resnet50_v1c",
        width: float = 1.0,
        channels: int = 512,
        bins: Sequence[int] = (1, 2, 3, 6),
        norm: str = "batch",
        dropout: float = 0.1,
        auxiliary: bool = True,
        **encoder_arguments: Any,
    ) -> None:
        pyramid = build_encoder(
            encoder,
            ndim=ndim,
            in_channels=in_channels,
            width=width,
            norm=norm,
            **encoder_arguments,
        )
        head = _Head(
            pyramid,
            num_classes,
            ndim=ndim,
            channels=scaled(channels, width),
            bins=bins,
            norm=norm,
            dropout=dropout,
        )
        aux = auxiliary_head(
            pyramid, num_classes, ndim=ndim, width=width, norm=norm, dropout=dropout
        )
        super().__init__(pyramid, head, [aux] if auxiliary else [])
        self.ndim = ndim


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
