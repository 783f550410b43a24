"""Global convolutional network in 2-D and 3-D."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.base import EncoderNetwork
from medseg.networks.blocks import CONV, init_weights, same_conv
from medseg.networks.encoders import Encoder, build_encoder
from medseg.networks.encoders.base import Axes
from medseg.networks.fcn_skip import interpolating


class GCN(EncoderNetwork):
    """Large kernels, made of strips, classify each level; the edges are refined on the way up [1]_.

    60.72 M parameters with 21 classes in 2-D on ResNet-152, of which the encoder has 58.14
    (unverified against the paper). In d dimensions a large kernel is the sum of d rows of d
    strips, each row beginning along another axis.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits, which are those of all score maps.
    encoder : str
        A key of `medseg.networks.encoders.ENCODERS`.
    width : float
        Multiplies the channels of the encoder.
    large_kernel : int
        Odd length of the strips.
    norm : {"instance", "batch", "group", "none"}
        Of the encoder; the score maps have none.
    **encoder_arguments
        More for the encoder: ``strides``, ``kernel_sizes``, ...

    References
    ----------
    .. [1] Peng et al., Large kernel matters: improve semantic segmentation by global convolutional
       network, CVPR 2017, figure 2.
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        encoder: str = "resnet152",
        width: float = 1.0,
        large_kernel: int = 15,
        norm: str = "batch",
        **encoder_arguments: Any,
    ) -> None:
        if large_kernel < 1 or large_kernel % 2 == 0:
            raise ConfigError(f"network.large_kernel is {large_kernel}; give an odd length")
        pyramid = build_encoder(
            encoder,
            ndim=ndim,
            in_channels=in_channels,
            width=width,
            norm=norm,
            **encoder_arguments,
        )
        super().__init__(pyramid, _Head(pyramid, num_classes, ndim=ndim, length=large_kernel))
        self.ndim = ndim


class _Head(nn.Module):
    """Scores of every level, refined, summed with the coarser ones and refined again."""

    def __init__(self, encoder: Encoder, num_classes: int, *, ndim: int, length: int) -> None:
        super().__init__()
        kernel = encoder.kernel
        long = tuple(length if k > 1 else 1 for k in kernel)
        self.scores = nn.ModuleList(
            nn.Sequential(_Large(ndim, c, num_classes, long), _Refine(ndim, num_classes, kernel))
            for c in encoder.channels[1:]
        )
        self.refine = nn.ModuleList(_Refine(ndim, num_classes, kernel) for _ in encoder.channels)
        self.apply(init_weights)
        strides = ((1,) * ndim, *encoder.strides)
        self.ups = nn.ModuleList(  # up to the image, and to each map but the coarsest
            interpolating(
                ndim, num_classes, tuple(c // f for f, c in zip(fine, coarse, strict=True))
            )
            for fine, coarse in pairwise(strides)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits at the size of the image."""
        scores = [f(x) for f, x in zip(self.scores, maps[1:], strict=True)]
        x = scores[-1]
        for level in reversed(range(len(maps))):  # of the map that x is brought to, and beyond it
            x = self.ups[level](x)
            if level > 1:
                x = x + scores[level - 2]
            x = self.refine[level](x)
        logits: Tensor = x
        return logits


class _Large(nn.Module):
    """The sum of rows of strips, each row along all axes in turn."""

    def __init__(self, ndim: int, channels: int, width: int, kernel: Axes) -> None:
        super().__init__()
        one = (1,) * ndim
        axes = [axis for axis in range(ndim) if kernel[axis] > 1]
        self.rows = nn.ModuleList()
        for first in range(len(axes)):
            row, given = nn.Sequential(), channels
            for axis in axes[first:] + axes[:first]:
                strip = tuple(kernel[a] if a == axis else 1 for a in range(ndim))
                row.append(same_conv(ndim, given, width, strip, one, bias=True))
                given = width
            self.rows.append(row)
        if not axes:
            self.rows.append(CONV[ndim](channels, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, width, *spatial)."""
        return torch.stack([row(x) for row in self.rows]).sum(0)


class _Refine(nn.Module):
    """Boundary refinement: convolution, ReLU, convolution, and the input added."""

    def __init__(self, ndim: int, width: int, kernel: Axes) -> None:
        super().__init__()
        one = (1,) * ndim
        self.body = nn.Sequential(
            same_conv(ndim, width, width, kernel, one, bias=True),
            nn.ReLU(),
            same_conv(ndim, width, width, kernel, one, bias=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, *spatial) to the same shape."""
        out: Tensor = x + self.body(x)
        return out
