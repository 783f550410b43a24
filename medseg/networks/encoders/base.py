"""What every encoder offers, and how strides become dilation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.networks.arguments import per_axis

Axes = tuple[int, ...]


class Encoder(nn.Module):
    """An image to maps, fine to coarse.

    Attributes
    ----------
    channels : tuple of int
        Of each map.
    strides : tuple of tuple of int
        Voxels of the image per voxel of each map, per axis.
    kernel : tuple of int
        Kernel of the coarsest stage: 1 along an axis that is left alone, so heads leave it too.
    """

    channels: tuple[int, ...]
    strides: tuple[Axes, ...]
    kernel: Axes

    @property
    def divisor(self) -> Axes:
        """Sizes of the image are multiples of it: the largest stride along each axis."""
        return tuple(max(along) for along in zip(*self.strides, strict=True))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, *spatial) to maps (B, channels[i], *spatial / strides[i])."""
        raise NotImplementedError


def dilate(
    steps: Sequence[Axes], output_stride: int | Sequence[int] | None
) -> tuple[list[Axes], list[Axes]]:
    """Trade the strides that would pass ``output_stride`` for dilation, axis by axis [1]_.

    Parameters
    ----------
    steps : sequence of tuple of int
        Stride of each step, per axis.
    output_stride : int or sequence of int, optional
        Largest product of strides to keep; none is traded without it.

    Returns
    -------
    (list of tuple of int, list of tuple of int)
        Strides and dilations of each step.

    References
    ----------
    .. [1] Chen et al., Rethinking atrous convolution, arXiv 1706.05587, section 3.1.

    Examples
    --------
    >>> dilate([(2,), (2,), (2,)], 2)
    ([(2,), (1,), (1,)], [(1,), (2,), (4,)])
    """
    ndim = len(steps[0])
    limit = None
    if output_stride is not None:
        limit = per_axis(output_stride, ndim, "network.arguments.output_stride")
    total, rate = [1] * ndim, [1] * ndim
    strides, rates = [], []
    for step in steps:
        kept = list(step)
        for axis, s in enumerate(step):
            if limit is not None and total[axis] * s > limit[axis]:
                rate[axis] *= s
                kept[axis] = 1
            total[axis] *= kept[axis]
        strides.append(tuple(kept))
        rates.append(tuple(rate))
    return strides, rates


def running_product(steps: Sequence[Axes]) -> tuple[Axes, ...]:
    """Return the stride of each step to the image."""
    totals: list[Axes] = []
    for step in steps:
        before = totals[-1] if totals else (1,) * len(step)
        totals.append(tuple(b * s for b, s in zip(before, step, strict=True)))
    return tuple(totals)
