"""Context encoding network in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import init_weights
from medseg.networks.context.encoding import ContextEncoding
from medseg.networks.encoders import Encoder, build_encoder
from medseg.networks.heads import auxiliary_head, classifier
from medseg.networks.layers import ConvNormAct, scaled
from medseg.networks.output import Prediction


class EncNet(EncoderNetwork):
    """A dilated ResNet whose channels are gated by a learnt code of the whole image [1]_.

    In training it also returns ``extras["presence"]``: which classes occur, scored from the code;
    the loss on it has weight 0.2. 33.53 M parameters with 19 classes in 2-D, without the auxiliary
    head.

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
        Of the encoded map, before ``width``.
    codes : int
        Codewords.
    norm : {"instance", "batch", "group", "none"}
    dropout : float
        Probability for a whole channel before the logits.
    auxiliary : bool
        In training, also return the logits of a head on the last map but one.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``multigrid``, ...

    References
    ----------
    .. [1] Zhang et al., Context encoding for semantic segmentation, CVPR 2018.
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
        codes: int = 32,
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
        encode = ContextEncoding(ndim, wide, codes=codes, norm=norm)
        head = _Head(
            pyramid, num_classes, encode, ndim=ndim, channels=wide, dropout=dropout, norm=norm
        )
        aux = auxiliary_head(
            pyramid, num_classes, ndim=ndim, width=width, norm=norm, dropout=dropout
        )
        super().__init__(pyramid, head, [aux] if auxiliary else [])
        self.ndim = ndim


class _Head(nn.Module):
    """A convolution on the coarsest map, the encoding, logits, and the presence of each class."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        encode: ContextEncoding,
        *,
        ndim: int,
        channels: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        given = encoder.channels[-1]
        self.reduce = ConvNormAct(ndim, given, channels, kernel=encoder.kernel, norm=norm)
        self.encode = encode
        self.classify = classifier(ndim, channels, num_classes, dropout)
        self.presence = nn.Linear(channels, num_classes)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Prediction:
        """Return logits at the size of the coarsest map, and scores (B, num_classes, 1, ...)."""
        gated, code = self.encode(self.reduce(maps[-1]))
        scores = self.presence(code)[(..., *(None,) * (gated.ndim - 2))]
        return Prediction(self.classify(gated), extras={"presence": scores})
