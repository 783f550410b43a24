"""Pyramid scene parsing network in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medseg.networks.base import EncoderNetwork
from medseg.networks.context.ppm import PyramidPooling
from medseg.networks.encoders import build_encoder
from medseg.networks.heads import ContextHead, auxiliary_head, classifier
from medseg.networks.layers import scaled


class PSPNet(EncoderNetwork):
    """Pyramid pooling on a dilated ResNet [1]_, with an auxiliary head on its third stage.

    46.61 M parameters with 19 classes in 2-D, without the auxiliary head, whose weight is 0.4
    in [1]_.

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
        Of each pooled branch and of the fusing convolution, before ``width``.
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
    .. [1] Zhao et al., Pyramid scene parsing network, CVPR 2017.
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
            output_stride=output_stride,
            **encoder_arguments,
        )
        wide = scaled(channels, width)
        context = PyramidPooling(
            ndim, pyramid.channels[-1], wide, bins=bins, kernel=pyramid.kernel, norm=norm
        )
        head = ContextHead(context, classifier(ndim, wide, num_classes, dropout))
        aux = auxiliary_head(
            pyramid, num_classes, ndim=ndim, width=width, norm=norm, dropout=dropout
        )
        super().__init__(pyramid, head, [aux] if auxiliary else [])
        self.ndim = ndim
