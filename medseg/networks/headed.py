"""What the networks of one head on an encoder have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from medseg.networks.base import EncoderNetwork
from medseg.networks.encoders import build_encoder
from medseg.networks.heads import auxiliary_head
from medseg.networks.layers import scaled


class HeadedNetwork(EncoderNetwork):
    """An encoder, a head on its maps that gives the logits, and one auxiliary head.

    Parameters
    ----------
    make_head : callable
        ``make_head(encoder, num_classes, ndim=..., channels=..., norm=..., dropout=...)`` returns
        the head; its ``channels`` are scaled already.
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
        Of the head, before ``width``.
    norm : {"instance", "batch", "group", "none"}
        Of encoder and heads; what is pooled to few values has none.
    dropout : float
        Probability for a whole channel before the logits.
    auxiliary : bool
        In training, also return the logits of a head on the last map but one.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``multigrid``, ...
    """

    def __init__(
        self,
        make_head: Callable[..., nn.Module],
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        encoder: str = "resnet50_v1c",
        width: float = 1.0,
        output_stride: int | Sequence[int] | None = 8,
        channels: int = 512,
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
        head = make_head(
            pyramid,
            num_classes,
            ndim=ndim,
            channels=scaled(channels, width),
            norm=norm,
            dropout=dropout,
        )
        aux = []
        if auxiliary:
            aux.append(
                auxiliary_head(
                    pyramid, num_classes, ndim=ndim, width=width, norm=norm, dropout=dropout
                )
            )
        super().__init__(pyramid, head, aux)
        self.ndim = ndim
