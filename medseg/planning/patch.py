"""Patch size and batch size: as much context as the device holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import numpy as np

from medseg.planning.topology import Topology, plan_topology

START_VOXELS = {2: 2048**2, 3: 256**3}
"""Volume of the isotropic patch that the search starts from."""


def plan_patch(
    spacing: Sequence[float],
    shape: Sequence[int],
    too_large: Callable[[Topology], bool],
    plan: Callable[[Sequence[int]], Topology] | None = None,
) -> Topology:
    """Return the largest patch that is not too large, with its topology (planning.md P1-P3).

    It starts isotropic in mm and no larger than the median case, then gives up the axis that
    covers most of the median case until the device can hold it.

    Parameters
    ----------
    spacing : sequence of float
        Target spacing in mm of the axes the network sees, 2 or 3 of them.
    shape : sequence of int
        Median shape of the cases at that spacing.
    too_large : callable
        Whether a network of this topology exceeds the device's budget.
    plan : callable, optional
        Gives a patch its topology; default `plan_topology` at this spacing.

    Returns
    -------
    Topology
        Its ``patch_size`` is a multiple of its divisor.
    """
    plan = plan or partial(plan_topology, spacing=spacing)
    inverse = 1.0 / np.asarray(spacing, dtype=float)
    edge = (START_VOXELS[len(inverse)] / np.prod(inverse)) ** (1 / len(inverse))
    start = np.maximum(np.minimum(np.round(inverse * edge), np.asarray(shape)), 1)
    topology = plan([int(n) for n in start])
    while too_large(topology):
        smaller = _shrunk(topology, shape, plan)
        if smaller.patch_size == topology.patch_size:
            break
        topology = smaller
    return topology


def _shrunk(
    topology: Topology, shape: Sequence[int], plan: Callable[[Sequence[int]], Topology]
) -> Topology:
    """Take one step off the axis that covers most of the median case.

    The step is the divisor the smaller patch will have, not the present one, so that sizes such
    as 224 between 192 and 256 are reached.
    """
    cover = [p / max(m, 1) for p, m in zip(topology.patch_size, shape, strict=True)]
    for axis in np.argsort(cover, kind="stable")[::-1]:
        sides = list(topology.patch_size)
        if sides[axis] <= topology.divisor[axis]:
            continue
        sides[axis] -= topology.divisor[axis]
        step = plan(sides).divisor[axis]
        sides = list(topology.patch_size)
        sides[axis] -= step
        return plan(sides)
    return topology


def unet_activations(topology: Topology, widths: Sequence[int], num_classes: int) -> int:
    """Count the values that the convolutions of a plain U-Net put out for one patch.

    Two convolutions per encoder stage; per decoder stage two and a transposed one; the last
    segmentation layer (planning.md, memory estimate E).
    """
    total = num_classes * prod(topology.patch_size)
    size = list(topology.patch_size)
    last = len(topology.strides) - 1
    for level, (stride, width) in enumerate(zip(topology.strides, widths, strict=True)):
        size = [n // s for n, s in zip(size, stride, strict=True)]
        convolutions = 2 if level == last else 5
        total += convolutions * width * prod(size)
    return total


RESENC_BLOCKS = (1, 3, 4)
"""Blocks of the first stages of a residual encoder; every further one has 6."""


def resenc_activations(topology: Topology, widths: Sequence[int], num_classes: int) -> int:
    """Count the values that the convolutions of a residual-encoder U-Net put out for one patch.

    The stem; per encoder stage two convolutions per block, and one in the shortcut of the first
    block where channels or size change; per decoder stage one convolution and a transposed one;
    the last segmentation layer (planning.md, memory estimate E).
    """
    size = list(topology.patch_size)
    total = (widths[0] + num_classes) * prod(size)
    blocks = (*RESENC_BLOCKS, *(6 for _ in widths))
    before, last = widths[0], len(topology.strides) - 1
    for level, (stride, width) in enumerate(zip(topology.strides, widths, strict=True)):
        size = [n // s for n, s in zip(size, stride, strict=True)]
        projected = width != before or max(stride) > 1
        decoded = 0 if level == last else 2
        total += (2 * blocks[level] + projected + decoded) * width * prod(size)
        before = width
    return total


def coverage_cap(patch_size: Sequence[int], shape: Sequence[int], cases: int, share: float) -> int:
    """Return the batch size at which one batch covers ``share`` of all training voxels."""
    return round(share * prod(int(n) for n in shape) * cases / prod(patch_size))
