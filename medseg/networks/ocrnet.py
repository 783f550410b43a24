"""Object-contextual representations network in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import init_weights
from medseg.networks.context.ocr import ObjectContext
from medseg.networks.encoders import Encoder, build_encoder
from medseg.networks.heads import auxiliary_head, classifier
from medseg.networks.layers import ConvNormAct, resize, scaled
from medseg.networks.output import Prediction


class OCRNet(EncoderNetwork):
    """A coarse segmentation gathers one vector per class, which the voxels attend to [1]_.

    The coarse logits, from the last map but one, are those of the auxiliary head of other
    networks; here they are part of inference too. 55.52 M parameters with 19 classes in 2-D on
    ResNet-101 (``encoder="resnet101_v1c"``).

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
    channels, inner : int
        Of the voxels' representation, and of the attention, before ``width``.
    norm : {"instance", "batch", "group", "none"}
    dropout : float
        Probability for a whole channel before the logits.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ``multigrid``, ...

    References
    ----------
    .. [1] Yuan, Chen and Wang, Object-contextual representations for semantic segmentation,
       ECCV 2020.
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
        inner: int = 256,
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
            output_stride=output_stride,
            **encoder_arguments,
        )
        wide = scaled(channels, width)
        coarse = auxiliary_head(
            pyramid, num_classes, ndim=ndim, width=width, norm=norm, dropout=dropout
        )
        context = ObjectContext(ndim, wide, inner=scaled(inner, width), norm=norm)
        classify = classifier(ndim, wide, num_classes, dropout)
        reduce = _reduction(pyramid, ndim, wide, norm)
        super().__init__(pyramid, _Head(coarse, reduce, context, classify))
        self.ndim = ndim


def _reduction(encoder: Encoder, ndim: int, channels: int, norm: str) -> nn.Module:
    """Return the convolution on the coarsest map."""
    return ConvNormAct(ndim, encoder.channels[-1], channels, kernel=encoder.kernel, norm=norm)


class _Head(nn.Module):
    """Coarse logits, the object context that they select, logits."""

    def __init__(
        self, coarse: nn.Module, reduce: nn.Module, context: nn.Module, classify: nn.Module
    ) -> None:
        super().__init__()
        self.coarse, self.reduce, self.context, self.classify = coarse, reduce, context, classify
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Prediction:
        """Return logits at the size of the coarsest map, with the coarse ones."""
        coarse, x = self.coarse(maps), self.reduce(maps[-1])
        logits = self.classify(self.context(x, resize(coarse, x.shape[2:])))
        return Prediction(logits, (coarse,))
