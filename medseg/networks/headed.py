"""What the networks of an encoder and a head have in common: their arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from torch import nn

from medseg.networks.base import EncoderNetwork
from medseg.networks.encoders import Encoder, build_encoder
from medseg.networks.heads import auxiliary_head
from medseg.networks.layers import scaled

MakeHead = Callable[..., nn.Module]
"""``make(encoder, num_classes, ndim=..., width=..., norm=...)``, which scales its channels."""


class PyramidNetwork(EncoderNetwork):
    """An encoder by name, a head on the pyramid of its maps and, if wanted, auxiliary heads.

    Parameters
    ----------
    make_head : callable
        A `MakeHead`.
    make_aux : iterable of callable
        The same, for each auxiliary head.
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    encoder : str or callable
        A key of `medseg.networks.encoders.ENCODERS`, or what builds an encoder of one's own.
    width : float
        Multiplies the channels of encoder and heads; 0.5 is a fair start in 3-D.
    norm : {"instance", "batch", "group", "none"}
        Of encoder and heads; what is pooled to few values has none.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``output_stride``, ``multigrid``, ...
    """

    def __init__(
        self,
        make_head: MakeHead,
        make_aux: Iterable[MakeHead] = (),
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        encoder: str | Callable[..., Encoder] = "resnet50_v1c",
        width: float = 1.0,
        norm: str = "batch",
        **encoder_arguments: Any,
    ) -> None:
        build = encoder if callable(encoder) else partial(build_encoder, encoder)
        pyramid = build(
            ndim=ndim, in_channels=in_channels, width=width, norm=norm, **encoder_arguments
        )
        head, *aux = (
            make(pyramid, num_classes, ndim=ndim, width=width, norm=norm)
            for make in (make_head, *make_aux)
        )
        super().__init__(pyramid, head, aux)
        self.ndim = ndim


class HeadedNetwork(PyramidNetwork):
    """An encoder, dilated unless told otherwise, a head, and one auxiliary head.

    Parameters
    ----------
    make_head : callable
        ``make_head(encoder, num_classes, ndim=..., channels=..., norm=..., dropout=...)`` returns
        the head; its ``channels`` are scaled already.
    output_stride : int or sequence of int, optional
        Strides of the encoder beyond it turn into dilation.
    channels : int
        Of the head, before ``width``.
    dropout : float
        Probability for a whole channel before the logits.
    auxiliary : bool
        In training, also return the logits of a head on the last map but one.
    **arguments
        Of `PyramidNetwork`.
    """

    def __init__(
        self,
        make_head: MakeHead,
        *,
        output_stride: int | Sequence[int] | None = 8,
        channels: int = 512,
        dropout: float = 0.1,
        auxiliary: bool = True,
        **arguments: Any,
    ) -> None:
        def sized(pyramid: Encoder, num_classes: int, *, width: float, **more: Any) -> nn.Module:
            wide = scaled(channels, width)
            return make_head(pyramid, num_classes, channels=wide, dropout=dropout, **more)

        aux = [partial(auxiliary_head, dropout=dropout)] if auxiliary else []
        super().__init__(sized, aux, output_stride=output_stride, **arguments)
