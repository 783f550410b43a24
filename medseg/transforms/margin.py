"""How much more than a patch is read, so that a turned patch finds voxels in its corners."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

MOST = 4.0
"""At most this many times the voxels of a patch are read."""
COVERED = 0.9
"""Share of the turned patches that find all their voxels."""
ROUNDING = 1e-3
"""Voxels that a reach in mm may be off."""


def choose_margin(
    reaches: Tensor, patch_size: Sequence[int], shapes: Sequence[Sequence[int]]
) -> tuple[int, ...]:
    """Return the voxels to read on both sides of each axis.

    As nnU-Net reads an initial patch [1]_, but what the angles and scales that are drawn need, and
    only where there is something to read.

    Parameters
    ----------
    reaches : float Tensor of shape (m, ndim)
        How far turned patches reach from their centres, in voxels.
    patch_size : sequence of int
    shapes : sequence of shapes
        Of the cases. No patch of a case sees further than the case is larger than the patch: where
        it covers the median case, the margin is 0.

    References
    ----------
    .. [1] Isensee et al., nnU-Net, Nature Methods 18, 2021 (``get_patch_size`` in its code: one
       rotation at the largest angle, scale 0.85).
    """
    size = torch.tensor(patch_size)
    if not len(reaches):
        return (0,) * len(size)
    beyond = reaches.float().quantile(COVERED, dim=0) - size / 2
    needed = (beyond - ROUNDING).ceil().int().clamp(min=0)
    room = (torch.tensor([list(s) for s in shapes]).median(0).values - size).clamp(min=0)
    margin = torch.minimum(needed, room).tolist()
    while prod(1 + 2 * m / n for m, n in zip(margin, patch_size, strict=True)) > MOST:
        widest = max(range(len(margin)), key=lambda a: margin[a] / patch_size[a])
        margin[widest] -= 1
    return tuple(margin)
