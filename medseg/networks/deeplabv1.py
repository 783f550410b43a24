"""DeepLab v1 (LargeFOV) in 2-D and 3-D."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from medseg.networks.encoders import Encoder
from medseg.networks.headed import HeadedNetwork
from medseg.networks.heads import ContextHead, classifier
from medseg.networks.layers import DROPOUT, ConvNormAct


class DeepLabV1(HeadedNetwork):
    """VGG16 at an eighth of the resolution, its first dense layer a dilated 3x3 convolution [1]_.

    The form "LargeFOV": 20.50 M parameters with 21 classes in 2-D. The conditional random field
    of the paper comes after the network.

    Parameters
    ----------
    rate : int
        Dilation of the first of the two layers that were fully connected; they have ``channels``.
    encoder, channels, norm, dropout, auxiliary, **arguments
        Of `medseg.networks.headed.HeadedNetwork`, with the defaults of [1]_.

    References
    ----------
    .. [1] Chen et al., Semantic image segmentation with deep convolutional nets and fully
       connected CRFs, ICLR 2015, section 3 and table 2 of arXiv 1412.7062v4 (LargeFOV).
    """

    def __init__(
        self,
        *,
        rate: int = 12,
        encoder: str = "vgg16",
        channels: int = 1024,
        norm: str = "none",
        dropout: float = 0.5,
        auxiliary: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(
            partial(_head, rate=rate),
            encoder=encoder,
            channels=channels,
            norm=norm,
            dropout=dropout,
            auxiliary=auxiliary,
            **arguments,
        )


def _head(
    encoder: Encoder,
    num_classes: int,
    *,
    rate: int,
    ndim: int,
    channels: int,
    norm: str,
    dropout: float,
) -> ContextHead:
    """Return the two layers that were fully connected, and the classifier behind them."""
    last, one = encoder.channels[-1], (1,) * ndim
    dense = nn.Sequential(
        ConvNormAct(ndim, last, channels, kernel=encoder.kernel, dilation=rate, norm=norm),
        DROPOUT[ndim](dropout),
        ConvNormAct(ndim, channels, channels, kernel=one, norm=norm),
    )
    return ContextHead(dense, classifier(ndim, channels, num_classes, dropout))
