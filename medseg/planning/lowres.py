"""The low-resolution configuration: a coarser grid on which a patch sees enough of a case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from medseg.planning.topology import Topology

COVERED = 0.25
"""Share of the median case that a patch is to cover."""
GROWTH = 1.03
"""Growth of the spacing per step."""
COARSE = 2.0
"""While an axis is finer than the coarsest by more than this factor, only such axes grow."""
LEAST_GAIN = 2.0
"""A grid with more than 1 / 2 of the full resolution's voxels is not worth a network."""

PlanAt = Callable[[Sequence[float], Sequence[int]], Topology]


@dataclass(frozen=True, kw_only=True)
class LowResolution:
    """A coarser grid, and how much of the median case a patch covers there."""

    spacing: tuple[float, ...]
    """mm."""
    shape: tuple[int, ...]
    """Median shape at that spacing."""
    covered: float
    """Share of the median case that the patch of that grid covers."""


def patch_share(patch_size: Sequence[int], shape: Sequence[int]) -> float:
    """Return the share of the median case that a patch has as voxels."""
    return prod(int(n) for n in patch_size) / prod(int(n) for n in shape)


def plan_low_resolution(
    spacing: Sequence[float], shape: Sequence[int], plan_at: PlanAt
) -> LowResolution | None:
    """Return the finest coarser grid whose patch covers a quarter of the median case.

    The spacing grows by 3 % per step, at first only along axes finer than the coarsest by more
    than a factor of 2, and the patch is planned anew at each step (planning.md, lowres).

    Parameters
    ----------
    spacing : sequence of float
        Spacing of the full resolution in mm.
    shape : sequence of int
        Median shape there.
    plan_at : callable
        Plans the patch for a spacing and a median shape.

    Returns
    -------
    LowResolution or None
        None where the patch of the full resolution covers that much, or where the coarser grid
        has more than half of its voxels.

    References
    ----------
    .. [1] Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical
       image segmentation, Nature Methods 18, 2021.
    """
    full, size = np.asarray(spacing, dtype=float), np.asarray(shape, dtype=float)
    mm, voxels = full.copy(), float(size.prod())
    covered = patch_share(plan_at(spacing, shape).patch_size, shape)
    if covered >= COVERED:
        return None
    while covered < COVERED:
        finer = mm.max() / mm > COARSE
        mm[finer if finer.any() else slice(None)] *= GROWTH
        voxels = float((full / mm * size).prod())
        coarse = tuple(max(1, round(n)) for n in (full / mm * size).tolist())
        patch = plan_at(tuple(mm.tolist()), coarse).patch_size
        covered = prod(patch) / voxels
        if max(coarse) == 1:
            break
    if size.prod() / voxels < LEAST_GAIN:
        return None
    return LowResolution(spacing=tuple(mm.tolist()), shape=coarse, covered=min(covered, 1.0))
