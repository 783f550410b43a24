"""What the networks of one kernel and a few halvings have in common: their arguments."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from medseg.networks.arguments import divisor_of, odd_kernel, window_steps


class SteppedNetwork(nn.Module):
    """A network that halves the image a few times, with convolutions of one kernel.

    Parameters
    ----------
    halvings : int
        Of a network, not of a user.
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    strides : sequence of (int or tuple of int), optional
        One step per halving, per axis. Default: 2s.
    kernel_size : int or tuple of int
        Odd sides of the convolutions.
    norm : {"batch", "instance", "group", "none"}
        With each convolution but the last.

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.
    kernel : tuple of int
    strides : tuple of tuple of int
    """

    def __init__(
        self,
        halvings: int,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_size: int | Sequence[int] = 3,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.ndim, self.in_channels, self.num_classes = ndim, in_channels, num_classes
        self.kernel, self.norm = odd_kernel(kernel_size, ndim), norm
        self.strides = window_steps(strides, halvings, ndim)
        self.divisor = divisor_of(self.strides)
