"""DeepLab v1 (LargeFOV) in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from medseg.networks.base import EncoderNetwork
from medseg.networks.encoders import VGG
from medseg.networks.heads import ContextHead, classifier
from medseg.networks.layers import DROPOUT, ConvNormAct, scaled


class DeepLabV1(EncoderNetwork):
    """VGG16 at an eighth of the resolution, its first dense layer a dilated 3x3 convolution [1]_.

    The form "LargeFOV": 20.50 M parameters with 21 classes in 2-D. The conditional random field
    of the paper comes after the network.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    width : float
        Multiplies all channels but those of the logits.
    channels : int
        Of the two layers that were fully connected, before ``width``.
    rate : int
        Dilation of the first of them.
    output_stride : int or sequence of int, optional
        Poolings beyond it keep the size, and what follows them is dilated.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        Of the five stages of VGG; see `medseg.networks.encoders.VGG`.
    norm : {"instance", "batch", "group", "none"}
        "none" in [1]_.
    dropout : float

    References
    ----------
    .. [1] Chen et al., Semantic image segmentation with deep convolutional nets and fully
       connected CRFs, ICLR 2015, section 3 and table 2 of arXiv 1412.7062v4 (LargeFOV).
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        width: float = 1.0,
        channels: int = 1024,
        rate: int = 12,
        output_stride: int | Sequence[int] | None = 8,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        norm: str = "none",
        dropout: float = 0.5,
    ) -> None:
        encoder = VGG(
            ndim=ndim,
            in_channels=in_channels,
            width=width,
            strides=strides,
            kernel_sizes=kernel_sizes,
            output_stride=output_stride,
            norm=norm,
        )
        wide, last = scaled(channels, width), encoder.channels[-1]
        dense = nn.Sequential(
            ConvNormAct(ndim, last, wide, kernel=encoder.kernel, dilation=rate, norm=norm),
            DROPOUT[ndim](dropout),
            ConvNormAct(ndim, wide, wide, kernel=(1,) * ndim, norm=norm),
        )
        super().__init__(encoder, ContextHead(dense, classifier(ndim, wide, num_classes, dropout)))
        self.ndim = ndim
