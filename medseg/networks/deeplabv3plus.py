"""DeepLab v3+ in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.blocks import init_weights
from medseg.networks.context.aspp import make_aspp
from medseg.networks.encoders import Encoder
from medseg.networks.headed import HeadedNetwork
from medseg.networks.heads import classifier
from medseg.networks.layers import ConvNormAct, Separable, resize, scaled


class DeepLabV3Plus(HeadedNetwork):
    """DeepLab v3 with separable convolutions, refined by the first stage's map [1]_.

    The default is the wide form in use today: 512 channels, 41.23 M parameters with 19 classes in
    2-D without the auxiliary head. The paper has ``channels=256`` and output stride 16.

    Parameters
    ----------
    width : float
        Multiplies the channels of encoder and heads; 0.5 is a fair start in 3-D.
    rates : sequence of int, optional
        Of the dilated branches. Default: (12, 24, 36) at output stride 8, in proportion at others.
    low_channels : int
        To which the first stage's map is reduced, before ``width``.
    **arguments
        Of `medseg.networks.headed.HeadedNetwork`; each branch has ``channels`` too.

    References
    ----------
    .. [1] Chen et al., Encoder-decoder with atrous separable convolution for semantic image
       segmentation, ECCV 2018.
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        rates: Sequence[int] | None = None,
        low_channels: int = 48,
        **arguments: Any,
    ) -> None:
        low = scaled(low_channels, width)
        super().__init__(partial(_Head, rates=rates, low=low), width=width, **arguments)


class _Head(nn.Module):
    """Context of the coarsest map beside the reduced map of the first stage, then logits."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        rates: Sequence[int] | None,
        low: int,
        ndim: int,
        channels: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        kernel, one = encoder.kernel, (1,) * ndim
        self.context = make_aspp(encoder, ndim, channels, rates=rates, norm=norm, separable=True)
        self.reduce = ConvNormAct(ndim, encoder.channels[1], low, kernel=one, norm=norm)
        self.refine = nn.Sequential(
            Separable(ndim, channels + low, channels, kernel=kernel, norm=norm),
            Separable(ndim, channels, channels, kernel=kernel, norm=norm),
            classifier(ndim, channels, num_classes, dropout),
        )
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the first stage's map."""
        low = self.reduce(maps[1])
        context = resize(self.context(maps[-1]), low.shape[2:])
        logits: Tensor = self.refine(torch.cat((context, low), dim=1))
        return logits
