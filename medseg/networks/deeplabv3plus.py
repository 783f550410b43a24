"""DeepLab v3+ in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import init_weights
from medseg.networks.context.aspp import ASPP, default_rates
from medseg.networks.encoders import build_encoder
from medseg.networks.heads import auxiliary_head, classifier
from medseg.networks.layers import ConvNormAct, Separable, resize, scaled


class DeepLabV3Plus(EncoderNetwork):
    """DeepLab v3 with separable convolutions, refined by the first stage's map [1]_.

    The default is the wide form in use today: 512 channels, 41.23 M parameters with 19 classes in
    2-D without the auxiliary head. The paper has ``channels=256`` and output stride 16.

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
    output_stride : int or sequence of int, optional
        Strides of the encoder beyond it turn into dilation.
    channels : int
        Of each branch and of the fusing convolution, before ``width``.
    rates : sequence of int, optional
        Of the dilated branches. Default: (12, 24, 36) at output stride 8, in proportion at others.
    low_channels : int
        To which the first stage's map is reduced, before ``width``.
    norm : {"instance", "batch", "group", "none"}
        Of encoder and heads; the pooled branch has none.
    dropout : float
        Probability for a whole channel before the logits.
    auxiliary : bool
        In training, also return the logits of a head on the last map but one.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``multigrid``, ...

    References
    ----------
    .. [1] Chen et al., Encoder-decoder with atrous separable convolution for semantic image
       segmentation, ECCV 2018.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        encoder: str = "resnet50_v1c",
        width: float = 1.0,
        output_stride: int | Sequence[int] | None = 8,
        channels: int = 512,
        rates: Sequence[int] | None = None,
        low_channels: int = 48,
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
            output_stride=output_stride,
            **encoder_arguments,
        )
        wide, low, one = scaled(channels, width), scaled(low_channels, width), (1,) * ndim
        context = ASPP(
            ndim,
            pyramid.channels[-1],
            wide,
            rates=default_rates(pyramid) if rates is None else rates,
            kernel=pyramid.kernel,
            norm=norm,
            separable=True,
        )
        reduce = ConvNormAct(ndim, pyramid.channels[1], low, kernel=one, norm=norm)
        refine = nn.Sequential(
            Separable(ndim, wide + low, wide, kernel=pyramid.kernel, norm=norm),
            Separable(ndim, wide, wide, kernel=pyramid.kernel, norm=norm),
            classifier(ndim, wide, num_classes, dropout),
        )
        head = _Head(context, reduce, refine)
        aux = auxiliary_head(
            pyramid, num_classes, ndim=ndim, width=width, norm=norm, dropout=dropout
        )
        super().__init__(pyramid, head, [aux] if auxiliary else [])
        self.ndim = ndim


class _Head(nn.Module):
    """Context of the coarsest map beside the reduced map of the first stage, then logits."""

    def __init__(self, context: nn.Module, reduce: nn.Module, refine: nn.Module) -> None:
        super().__init__()
        self.context, self.reduce, self.refine = context, reduce, refine
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the first stage's map."""
        low = self.reduce(maps[1])
        context = resize(self.context(maps[-1]), low.shape[2:])
        logits: Tensor = self.refine(torch.cat((context, low), dim=1))
        return logits
