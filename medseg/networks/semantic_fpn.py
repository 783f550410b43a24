"""Semantic feature pyramid network in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from medseg.networks.blocks import init_weights
from medseg.networks.encoders import Encoder
from medseg.networks.feature_pyramid import FeaturePyramid
from medseg.networks.headed import PyramidNetwork
from medseg.networks.heads import classifier
from medseg.networks.layers import conv_units, resize, scaled


class SemanticFPN(PyramidNetwork):
    """Feature pyramid whose levels are brought to the finest one step by step and summed [1]_.

    28.50 M parameters with 19 classes in 2-D.

    Parameters
    ----------
    pyramid_channels, channels : int
        Of the pyramid's maps and of those that are summed, before ``width``.
    head_norm : {"instance", "batch", "group", "none"}
        Of the convolutions after the pyramid, which itself has none.
    dropout : float
        Probability for a whole channel before the logits.
    **arguments
        Of `medseg.networks.headed.PyramidNetwork`; ``norm`` is the encoder's.

    References
    ----------
    .. [1] Kirillov et al., Panoptic feature pyramid networks, CVPR 2019, figure 3.
    """

    head: _Head

    def __init__(
        self,
        *,
        pyramid_channels: int = 256,
        channels: int = 128,
        head_norm: str = "group",
        dropout: float = 0.1,
        **arguments: Any,
    ) -> None:
        make = partial(
            _Head,
            between=pyramid_channels,
            channels=channels,
            head_norm=head_norm,
            dropout=dropout,
        )
        super().__init__(make, **arguments)


class _Head(FeaturePyramid):
    """The pyramid, a row of convolutions and doublings per level, the sum, logits."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        ndim: int,
        width: float,
        between: int,
        channels: int,
        head_norm: str,
        dropout: float,
        **_: Any,
    ) -> None:
        inner, wide, kernel = scaled(between, width), scaled(channels, width), encoder.kernel
        super().__init__(encoder, inner, ndim=ndim)
        self.rows = nn.ModuleList(
            _Row(conv_units(ndim, inner, wide, max(1, level), kernel=kernel, norm=head_norm))
            for level in range(len(self.laterals))
        )
        self.classify = classifier(ndim, wide, num_classes, dropout)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the first stage's map."""
        return self.merge(self.pyramid(maps))

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

    def __init__(self, convs: Sequence[nn.Module]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)

    def forward(self, x: Tensor, sizes: Sequence[Sequence[int]]) -> Tensor:
        """Map (B, channels, *spatial) to (B, width, *sizes[-1])."""
        for conv, size in zip(self.convs, sizes, strict=True):
            x = resize(conv(x), size)
        return x
