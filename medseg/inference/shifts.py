"""Test-time shifts: the mean over a tile seen at several places of the network's own grid."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from medseg.artefacts import Plan

logger = logging.getLogger(__name__)


class Shifted(nn.Module):
    """A network averaged over small shifts of its input, along several axes at once.

    A network that strides is not equivariant to shifts: what it says of a voxel depends on where
    the voxel falls between its strides [1]_. The errors that come of it are nearly independent, so
    that the mean over shifts by 0, 1, -1, 2, ... voxels has fewer of them.

    What a shift uncovers is filled with the nearest voxels; what it pushes out is not heard in that
    pass, so that voxels at the rim have fewer passes in their mean.

    Parameters
    ----------
    network : nn.Module
        Maps (B, C, *patch) to logits (B, num_classes, *patch).
    count : int
        Passes; the price is that many times the time.
    axes : sequence of int, optional
        Spatial axes to shift along, each longer than the largest offset (`shiftable`); None: all.

    References
    ----------
    .. [1] Zhang, Making Convolutional Networks Shift-Invariant Again, ICML 2019.

    Examples
    --------
    >>> even = lambda x: x * (torch.arange(x.shape[-1]) % 2 == 0)  # sees every other voxel
    >>> Shifted(even, 2)(torch.ones(1, 1, 4))
    tensor([[[0.5000, 0.5000, 0.5000, 0.0000]]])
    """

    def __init__(self, network: nn.Module, count: int, axes: Sequence[int] | None = None) -> None:
        super().__init__()
        self.network, self.offsets = network, shift_offsets(count)
        self.axes = None if axes is None else tuple(axes)

    def forward(self, image: Tensor) -> Tensor:
        """Return the mean logits, float32."""
        total: Tensor = self.network(image).float().clone()  # it may hand its input through
        passes = torch.ones_like(total[:1, :1])
        moving = [self.axes is None or axis in self.axes for axis in range(image.ndim - 2)]
        for offset in self.offsets[1:]:
            steps = [offset if moves else 0 for moves in moving]
            logits = self.network(_moved(image, steps))
            here, there = _kept(steps)
            total[here] += logits[there]
            passes[here] += 1
        return total.div_(passes)


def shift_offsets(count: int) -> tuple[int, ...]:
    """Return 0, 1, -1, 2, -2, ...: the shortest ``count`` offsets.

    Examples
    --------
    >>> shift_offsets(4)
    (0, 1, -1, 2)
    """
    return tuple((i + 1) // 2 if i % 2 else -i // 2 for i in range(count))


def shiftable(patch_size: Sequence[int], count: int) -> tuple[int, ...]:
    """Return the axes on which a tile is longer than the largest of ``count`` offsets.

    Along the others a shift would push out all that is there; the one slice that a slice-wise
    network sees is such an axis.

    Examples
    --------
    >>> shiftable((64, 2, 1), 4), shiftable((64, 2, 1), 3)
    ((0,), (0, 1))
    """
    largest = max(shift_offsets(count))
    return tuple(axis for axis, side in enumerate(patch_size) if side > largest)


def shift_axes(plan: Plan, count: int) -> tuple[int, ...]:
    """Return the axes of a plan's tiles that can be shifted, and say where some cannot."""
    axes = shiftable(plan.patch_size, count)
    left_out = set(range(len(plan.patch_size))) - {plan.slice_axis, *axes}
    if left_out:
        sides = " x ".join(map(str, plan.patch_size))
        logger.warning(
            "infer.shifts=%d moves tiles by up to %d voxels; tiles of %s are no longer than that "
            "along axis %s, so nothing is shifted there; 4 shifts are enough",
            count, max(shift_offsets(count)), sides, ", ".join(map(str, sorted(left_out))),
        )  # fmt: skip
    return axes


def _moved(image: Tensor, steps: Sequence[int]) -> Tensor:
    """Move the content of (B, C, *spatial) up each axis by its step, or down by a negative one."""
    box = [
        slice(max(-step, 0), n - max(step, 0))
        for n, step in zip(image.shape[2:], steps, strict=True)
    ]
    widths = [w for step in reversed(steps) for w in (max(step, 0), max(-step, 0))]  # last first
    return pad(image[:, :, *box], widths, mode="replicate")


def _kept(steps: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where voxels stand that a shift keeps, and where they stand after it."""
    here = [slice(max(-step, 0), -step if step > 0 else None) for step in steps]
    there = [slice(max(step, 0), step if step < 0 else None) for step in steps]
    whole = (slice(None), slice(None))
    return (*whole, *here), (*whole, *there)
