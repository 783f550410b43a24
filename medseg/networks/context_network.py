"""What the networks of one context module on a dilated encoder have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from medseg.networks.base import EncoderNetwork
from medseg.networks.encoders import build_encoder
from medseg.networks.heads import ContextHead, auxiliary_head, classifier
from medseg.networks.layers import scaled


class ContextNetwork(EncoderNetwork):
    """A dilated encoder, a context module on its last map, logits, one auxiliary head.

    Parameters
    ----------
    make : callable
        ``make(ndim, channels, out_channels, kernel=..., norm=...)`` returns the context module.
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
        That the context module returns, before ``width``.
    norm : {"instance", "batch", "group", "none"}
        Of encoder and heads; what is pooled to single values has none.
    dropout : float
        Probability for a whole channel before the logits.
    auxiliary : bool
        In training, also return the logits of a head on the last map but one.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``multigrid``, ...
    """

    def __init__(
        self,
        make: Callable[..., nn.Module],
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
        wide = scaled(channels, width)
        context = make(ndim, pyramid.channels[-1], wide, kernel=pyramid.kernel, norm=norm)
        head = ContextHead(context, classifier(ndim, wide, num_classes, dropout))
        aux = auxiliary_head(
            pyramid, num_classes, ndim=ndim, width=width, norm=norm, dropout=dropout
        )
        super().__init__(pyramid, head, [aux] if auxiliary else [])
        self.ndim = ndim
