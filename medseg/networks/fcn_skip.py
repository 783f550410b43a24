"""FCN-32s, FCN-16s and FCN-8s in 2-D and 3-D."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn

from medseg.networks.blocks import CONV, init_weights
from medseg.networks.encoders import VGG, Encoder
from medseg.networks.headed import PyramidNetwork
from medseg.networks.interpolating import interpolating
from medseg.networks.layers import DROPOUT, ConvNormAct, scaled


class FCN32s(PyramidNetwork):
    """VGG16 made convolutional, its scores interpolated from stride 32 [1]_.

    The two fully connected layers are convolutions of 7x7 and 1x1 with 4096 channels and dropout.
    All transposed convolutions start as linear interpolation, and are learnt. Images are padded to
    multiples of 32, not by 100 pixels. 135.82 M
    parameters with 19 classes in 2-D (FCN-8s 134.46; unverified against the paper).

    Parameters
    ----------
    channels : int
        Of the convolutions that were fully connected, before ``width``; the 7x7x7 one of the full
        width alone has 719 M parameters in 3-D.
    kernel_size : int
        Odd kernel of the first of them, along the axes that VGG convolves.
    norm : {"instance", "batch", "group", "none"}
        "none" in [1]_.
    dropout : float
    **arguments
        ``ndim``, ``in_channels``, ``num_classes``, ``width``, and those of
        `medseg.networks.encoders.VGG`.

    References
    ----------
    .. [1] Long, Shelhamer and Darrell, Fully convolutional networks for semantic segmentation,
       CVPR 2015.
    """

    skips: ClassVar[int] = 0

    def __init__(
        self,
        *,
        channels: int = 4096,
        kernel_size: int = 7,
        norm: str = "none",
        dropout: float = 0.5,
        **arguments: Any,
    ) -> None:
        make = partial(
            _Head, skips=self.skips, channels=channels, kernel_size=kernel_size, dropout=dropout
        )
        super().__init__(make, encoder=VGG, norm=norm, **arguments)


class FCN16s(FCN32s):
    """FCN-32s whose scores, doubled, are added to those of the fourth pooling [1]_.

    Its arguments are those of `FCN32s`.

    References
    ----------
    .. [1] Long, Shelhamer and Darrell, Fully convolutional networks for semantic segmentation,
       CVPR 2015.
    """

    skips: ClassVar[int] = 1


class FCN8s(FCN32s):
    """FCN-16s whose scores, doubled, are added to those of the third pooling [1]_.

    Its arguments are those of `FCN32s`.

    References
    ----------
    .. [1] Long, Shelhamer and Darrell, Fully convolutional networks for semantic segmentation,
       CVPR 2015.
    """

    skips: ClassVar[int] = 2


class _Head(nn.Module):
    """Scores of the coarsest map, summed with those of finer ones on the way to full size."""

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        ndim: int,
        width: float,
        norm: str,
        skips: int,
        channels: int,
        kernel_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        wide, one = scaled(channels, width), (1,) * ndim
        kernel = tuple(kernel_size if k > 1 else 1 for k in encoder.kernel)
        self.deep = nn.Sequential(
            ConvNormAct(ndim, encoder.channels[-1], wide, kernel=kernel, norm=norm),
            DROPOUT[ndim](dropout),
            ConvNormAct(ndim, wide, wide, kernel=one, norm=norm),
            DROPOUT[ndim](dropout),
        )
        finer = [encoder.channels[-2 - i] for i in range(skips)]
        self.scores = nn.ModuleList(CONV[ndim](c, num_classes, 1) for c in (wide, *finer))
        self.apply(init_weights)
        totals = [encoder.strides[-1 - i] for i in range(skips + 1)] + [one]
        self.ups = nn.ModuleList(
            interpolating(ndim, num_classes, tuple(a // b for a, b in zip(c, f, strict=True)))
            for c, f in pairwise(totals)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the image."""
        x = self.scores[0](self.deep(maps[-1]))
        for i, score in enumerate(self.scores[1:]):
            x = self.ups[i](x) + score(maps[-2 - i])
        logits: Tensor = self.ups[-1](x)
        return logits
