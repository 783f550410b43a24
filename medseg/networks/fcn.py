"""Dilated fully convolutional network in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medseg.networks.base import EncoderNetwork
from medseg.networks.encoders import build_encoder
from medseg.networks.heads import FCNHead, auxiliary_head
from medseg.networks.layers import scaled


class FCN(EncoderNetwork):
    """A dilated ResNet and two convolutions, concatenated with its last map.

    What is called "FCN" today: the idea of [1]_ on a dilated ResNet [2]_. For the network of the
    paper see `medseg.networks.fcn_skip`. 47.13 M parameters with 19 classes in 2-D, without the
    auxiliary head.

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
        Of the head's convolutions, before ``width``.
    convs : int
        Before the fusing convolution.
    norm : {"instance", "batch", "group", "none"}
        Of encoder and heads.
    dropout : float
        Probability for a whole channel before the logits.
    auxiliary : bool
        In training, also return the logits of a head on the last map but one.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``multigrid``, ...

    References
    ----------
    .. [1] Long, Shelhamer and Darrell, Fully convolutional networks for semantic segmentation,
       CVPR 2015.
    .. [2] Yu, Koltun and Funkhouser, Dilated residual networks, CVPR 2017.
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
        convs: int = 2,
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
        head = FCNHead(
            pyramid,
            num_classes,
            ndim=ndim,
            level=-1,
            channels=scaled(channels, width),
            convs=convs,
            concat=True,
            norm=norm,
            dropout=dropout,
        )
        aux = auxiliary_head(
            pyramid, num_classes, ndim=ndim, width=width, norm=norm, dropout=dropout
        )
        super().__init__(pyramid, head, [aux] if auxiliary else [])
        self.ndim = ndim
