"""Max pooling that remembers places, unpooling to them, and learnt upsampling by a whole step.

Both poolings look at windows that do not overlap. They are written with reshapes, so that 2-D and
3-D are one body, the gradient is the same on every run of every device, and a window may be of
size 1 along a thin axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.blocks import TRANSPOSED, same_conv
from medseg.registry import nearest

LINEAR = {2: "bilinear", 3: "trilinear"}


def max_pool(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Take the largest value of each window, and remember where in the window it was.

    Parameters
    ----------
    x : float Tensor of shape (B, C, *spatial)
        Each side is a multiple of the window's.
    window : sequence of int
        Sides of the window, which is also the step.

    Returns
    -------
    values : float Tensor of shape (B, C, *spatial / window)
    places : int64 Tensor of the same shape
        Position inside the window, counted with the last axis fastest; of equal values the first.

    Examples
    --------
    >>> import torch
    >>> values, places = max_pool(torch.tensor([[[[1.0, 5.0], [2.0, 3.0]]]]), (2, 2))
    >>> values.item(), places.item()
    (5.0, 1)
    """
    count = len(window)
    split = [n for size, w in zip(x.shape[2:], window, strict=True) for n in (size // w, w)]
    coarse, inside = range(2, 2 + 2 * count, 2), range(3, 3 + 2 * count, 2)
    windows = x.reshape(*x.shape[:2], *split).permute(0, 1, *coarse, *inside)
    values, places = windows.flatten(2 + count).max(dim=-1)
    return values, places


def unpool(x: Tensor, places: Tensor, window: Sequence[int]) -> Tensor:
    """Put each value back at its place in an else empty window; see `max_pool`.

    Parameters
    ----------
    x : float Tensor of shape (B, C, *spatial)
    places : int64 Tensor of shape (B, C, *spatial)
        From `max_pool` with the same window.
    window : sequence of int

    Returns
    -------
    float Tensor of shape (B, C, *spatial * window)

    References
    ----------
    .. [1] Zeiler, Taylor and Fergus, Adaptive deconvolutional networks for mid and high level
       feature learning, ICCV 2011.
    """
    count = len(window)
    empty = x.new_zeros(*x.shape, math.prod(window))
    windows = empty.scatter(-1, places.unsqueeze(-1), x.unsqueeze(-1))
    pairs = [axis for i in range(count) for axis in (2 + i, 2 + count + i)]
    sizes = [size * w for size, w in zip(x.shape[2:], window, strict=True)]
    spread = windows.reshape(*x.shape, *window).permute(0, 1, *pairs)
    return spread.reshape(*x.shape[:2], *sizes)


def make_upsampling(
    mode: str,
    ndim: int,
    channels: int,
    out_channels: int,
    *,
    kernel: tuple[int, ...],
    step: tuple[int, ...],
    bias: bool,
) -> nn.Module:
    """Return a layer that multiplies each side by ``step``; both modes have the same weights.

    Parameters
    ----------
    mode : {"resize", "transposed"}
        Linear interpolation, then a convolution, which leaves no checkerboard [1]_; or a
        transposed convolution, as most papers of before 2017 have it.
    ndim, channels, out_channels : int
    kernel : tuple of int
        Odd sides.
    step : tuple of int
    bias : bool

    Raises
    ------
    ConfigError
        If there is no such mode.

    References
    ----------
    .. [1] Odena, Dumoulin and Olah, Deconvolution and checkerboard artifacts, Distill 2016.
    """
    if mode == "resize":
        grow = nn.Upsample(scale_factor=step, mode=LINEAR[ndim], align_corners=False)
        one = (1,) * ndim
        return nn.Sequential(grow, same_conv(ndim, channels, out_channels, kernel, one, bias=bias))
    if mode == "transposed":
        padding, extra = tuple(k // 2 for k in kernel), tuple(s - 1 for s in step)
        return TRANSPOSED[ndim](channels, out_channels, kernel, step, padding, extra, bias=bias)  # type: ignore[arg-type]
    names = ("resize", "transposed")
    raise ConfigError(
        f"network.arguments.upsampling: no mode is named '{mode}'; {nearest(mode, names)}"
    )
