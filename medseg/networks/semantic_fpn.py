"""Semantic feature pyramid network in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import CONV, init_weights
from medseg.networks.encoders import Encoder, build_encoder
from medseg.networks.heads import classifier
from medseg.networks.layers import ConvNormAct, resize, scaled


class SemanticFPN(EncoderNetwork):
    """Feature pyramid whose levels are brought to the finest one step by step and summed [1]_.

    28.50 M parameters with 19 classes in 2-D.

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
    pyramid_channels, channels : int
        Of the pyramid's maps and of those that are summed, before ``width``.
    head_norm : {"instance", "batch", "group", "none"}
        Of the convolutions after the pyramid, which itself has none.
    norm : {"instance", "batch", "group", "none"}
        Of the encoder.
    dropout : float
        Probability for a whole channel before the logits.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``multigrid``, ...

    References
    ----------
    .. [1] Kirillov et al., Panoptic feature pyramid networks, CVPR 2019, figure 3.
    """

    head: _Head

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        encoder: str = "resnet50_v1c",
        width: float = 1.0,
        pyramid_channels: int = 256,
        channels: int = 128,
        head_norm: str = "group",
        norm: str = "batch",
        dropout: float = 0.1,
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
            between=scaled(pyramid_channels, width),
            channels=scaled(channels, width),
            norm=head_norm,
            dropout=dropout,
        )
        super().__init__(pyramid, head)
        self.ndim = ndim


class _Head(nn.Module):
    """The pyramid, a row of convolutions and doublings per level, the sum, logits."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        ndim: int,
        between: int,
        channels: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        kernel, given = encoder.kernel, encoder.channels[1:]
        self.laterals = nn.ModuleList(CONV[ndim](c, between, 1) for c in given)
        self.smooth = nn.ModuleList(
            ConvNormAct(ndim, between, between, kernel=kernel, norm="none", activate=False)
            for _ in given
        )
        self.rows = nn.ModuleList(
            _Row(ndim, between, channels, count=max(1, level), kernel=kernel, norm=norm)
            for level in range(len(given))
        )
        self.classify = classifier(ndim, channels, num_classes, dropout)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the first stage's map."""
        return self.merge(self.pyramid(maps))

    def pyramid(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the feature pyramid, finest first."""
        laterals = [f(x) for f, x in zip(self.laterals, maps[1:], strict=True)]
        for i in reversed(range(len(laterals) - 1)):  # top down, nearest as in the paper
            sizes = laterals[i].shape[2:]
            laterals[i] = laterals[i] + functional.interpolate(laterals[i + 1], sizes)
        return [f(x) for f, x in zip(self.smooth, laterals, strict=True)]

    def merge(self, pyramid: list[Tensor]) -> Tensor:
        """Return the logits of the summed pyramid."""
        sizes = [x.shape[2:] for x in pyramid]
        total = self.rows[0](pyramid[0], sizes[:1])
        for level in range(1, len(pyramid)):
            total = total + self.rows[level](pyramid[level], sizes[level - 1 :: -1])
        logits: Tensor = self.classify(total)
        return logits


class _Row(nn.Module):
    """Convolutions, each followed by interpolation to the size of the next finer level."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        width: int,
        *,
        count: int,
        kernel: tuple[int, ...],
        norm: str,
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            ConvNormAct(ndim, width if i else channels, width, kernel=kernel, norm=norm)
            for i in range(count)
        )

    def forward(self, x: Tensor, sizes: Sequence[Sequence[int]]) -> Tensor:
        """Map (B, channels, *spatial) to (B, width, *sizes[-1])."""
        for conv, size in zip(self.convs, sizes, strict=True):
            x = resize(conv(x), size)
        return x
