"""FCN-32s, FCN-16s and FCN-8s in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import CONV, TRANSPOSED, init_weights
from medseg.networks.encoders import VGG
from medseg.networks.encoders.base import Axes
from medseg.networks.layers import DROPOUT, ConvNormAct, scaled


class FCN32s(EncoderNetwork):
    """VGG16 made convolutional, its scores interpolated from stride 32 [1]_.

    The two fully connected layers are convolutions of 7x7 and 1x1 with 4096 channels and dropout.
    All transposed convolutions start as linear interpolation, and are learnt. Images are padded to
    multiples of 32, not by 100 pixels. 135.82 M
    parameters with 19 classes in 2-D (FCN-8s 134.46; unverified against the paper).

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    width : float
        Multiplies all channels but those of the scores; the 7x7x7 convolution of the full width
        alone has 719 M parameters in 3-D.
    channels : int
        Of the convolutions that were fully connected, before ``width``.
    kernel_size : int
        Odd kernel of the first of them, along the axes that VGG convolves.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        Of the five stages of VGG; see `medseg.networks.encoders.VGG`.
    norm : {"instance", "batch", "group", "none"}
        "none" in [1]_.
    dropout : float

    References
    ----------
    .. [1] Long, Shelhamer and Darrell, Fully convolutional networks for semantic segmentation,
       CVPR 2015.
    """

    skips: ClassVar[int] = 0

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        width: float = 1.0,
        channels: int = 4096,
        kernel_size: int = 7,
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
            norm=norm,
        )
        head = _Head(
            encoder,
            num_classes,
            ndim=ndim,
            skips=self.skips,
            channels=scaled(channels, width),
            kernel=tuple(kernel_size if k > 1 else 1 for k in encoder.kernel),
            norm=norm,
            dropout=dropout,
        )
        super().__init__(encoder, head)
        self.ndim = ndim


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
        encoder: VGG,
        num_classes: int,
        *,
        ndim: int,
        skips: int,
        channels: int,
        kernel: Axes,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        one = (1,) * ndim
        self.deep = nn.Sequential(
            ConvNormAct(ndim, encoder.channels[-1], channels, kernel=kernel, norm=norm),
            DROPOUT[ndim](dropout),
            ConvNormAct(ndim, channels, channels, kernel=one, norm=norm),
            DROPOUT[ndim](dropout),
        )
        finer = [encoder.channels[-2 - i] for i in range(skips)]
        self.scores = nn.ModuleList(CONV[ndim](c, num_classes, 1) for c in (channels, *finer))
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


def interpolating(ndim: int, channels: int, factor: Axes) -> nn.Module:
    """Return a transposed convolution that starts as linear interpolation of each channel.

    Its kernel is ``2 * factor - factor % 2``; with that every output sees the same number of
    inputs, so there is no checkerboard.
    """
    kernel = tuple(2 * f - f % 2 for f in factor)
    margin = tuple(f // 2 for f in factor)
    up = TRANSPOSED[ndim](channels, channels, kernel, factor, margin, bias=False)  # type: ignore[arg-type]
    weight = torch.ones(())
    for f, k in zip(factor, kernel, strict=True):
        along = 1 - (torch.arange(k) - (k - 1) / 2).abs() / f
        weight = weight[..., None] * along
    with torch.no_grad():
        up.weight.zero_()
        for c in range(channels):
            up.weight[c, c] = weight
    return up
