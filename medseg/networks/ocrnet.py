"""Object-contextual representations network in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from medseg.networks.blocks import init_weights
from medseg.networks.context.ocr import ObjectContext
from medseg.networks.encoders import Encoder
from medseg.networks.headed import PyramidNetwork
from medseg.networks.heads import auxiliary_head, classifier
from medseg.networks.layers import ConvNormAct, resize, scaled
from medseg.networks.output import Prediction


class OCRNet(PyramidNetwork):
    """A coarse segmentation gathers one vector per class, which the voxels attend to [1]_.

    The coarse logits, from the last map but one, are those of the auxiliary head of other
    networks; here they are part of inference too. 55.52 M parameters with 19 classes in 2-D on
    ResNet-101 (``encoder="resnet101_v1c"``).

    Parameters
    ----------
    output_stride : int or sequence of int, optional
        Strides of the encoder beyond it turn into dilation.
    channels, inner : int
        Of the voxels' representation, and of the attention, before ``width``.
    dropout : float
        Probability for a whole channel before the logits.
    **arguments
        Of `medseg.networks.headed.PyramidNetwork`.

    References
    ----------
    .. [1] Yuan, Chen and Wang, Object-contextual representations for semantic segmentation,
       ECCV 2020.
    """

    def __init__(
        self,
        *,
        output_stride: int | Sequence[int] | None = 8,
        channels: int = 512,
        inner: int = 256,
        dropout: float = 0.1,
        **arguments: Any,
    ) -> None:
        make = partial(_Head, channels=channels, inner=inner, dropout=dropout)
        super().__init__(make, output_stride=output_stride, **arguments)


class _Head(nn.Module):
    """Coarse logits, the object context that they select, logits."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        ndim: int,
        width: float,
        norm: str,
        channels: int,
        inner: int,
        dropout: float,
    ) -> None:
        super().__init__()
        wide, given, kernel = scaled(channels, width), encoder.channels[-1], encoder.kernel
        self.coarse = auxiliary_head(
            encoder, num_classes, ndim=ndim, width=width, norm=norm, dropout=dropout
        )
        self.reduce = ConvNormAct(ndim, given, wide, kernel=kernel, norm=norm)
        self.context = ObjectContext(ndim, wide, inner=scaled(inner, width), norm=norm)
        self.classify = classifier(ndim, wide, num_classes, dropout)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> Prediction:
        """Return logits at the size of the coarsest map, with the coarse ones."""
        coarse, x = self.coarse(maps), self.reduce(maps[-1])
        logits = self.classify(self.context(x, resize(coarse, x.shape[2:])))
        return Prediction(logits, (coarse,))
