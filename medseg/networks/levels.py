"""What the networks that bring their own way down have in common: their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from medseg.networks.arguments import divisor_of, level_geometry


class LevelNetwork(nn.Module):
    """A network of levels, finest first, each smaller than the one above by a stride.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    widths : sequence of int
        Feature channels of each level, finest first.
    strides, kernel_sizes : sequence of (int or tuple of int), optional
        Stride (of a pooling or a convolution) and odd kernel per level and axis; the first stride
        is 1. Default: 1, then 2s; kernels of ``side``.
    norm : {"instance", "batch", "group", "none"}
        After each convolution.

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.
    steps, kernels : tuple of tuple of int
        Of each level, per axis.
    side : int
        Of the kernels that nobody asked for otherwise.
    """

    side: ClassVar[int] = 3

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int],
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.ndim, self.in_channels, self.num_classes = ndim, in_channels, num_classes
        self.widths, self.norm = tuple(widths), norm
        self.steps, self.kernels = level_geometry(
            widths, strides, kernel_sizes, ndim, kernel=self.side
        )
        self.divisor = divisor_of(self.steps)
