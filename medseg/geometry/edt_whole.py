"""Squared distances between voxels of one size, which are whole numbers, in 16 bits on the CPU.

Separable like `medseg.geometry.edt`, but 32 voxels to an instruction and blocks that stay in the
cache: more than twice as fast as the ``edt`` library on a patch of 96 x 96 x 96.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Squares = NDArray[np.uint16]

BLOCK = 2**17
"""Voxels of a block of lines; two blocks and their sum stay in the cache."""
CHECK_EVERY = 4
"""Shifts between two looks at whether a later shift can still win."""


def squares_fit(shape: Sequence[int]) -> bool:
    """Return whether every number that comes up is less than 2**16: to 128 x 128 x 128, say."""
    return _beyond(shape) + (max(shape) - 1) ** 2 < 2**16


def whole_squares(mask: NDArray[np.bool_], *, both_sides: bool) -> Squares:
    """Return the squared distance in voxels from each true voxel to the nearest false one.

    Parameters
    ----------
    mask : bool array of any number of axes
        With both values in it, and of a shape that `squares_fit`.
    both_sides : bool
        Do the same for the false voxels; else they are 0.

    Returns
    -------
    uint16 array of the shape of the mask

    Examples
    --------
    >>> whole_squares(np.array([True, True, False]), both_sides=True).tolist()
    [4, 1, 1]
    """
    beyond = np.uint16(_beyond(mask.shape))
    first = _to_other_value(mask, beyond)
    field = _other_axes(first * mask)
    if both_sides:
        field += _other_axes(first * ~mask)  # each is 0 on the other's side
    return field


def _beyond(shape: Sequence[int]) -> int:
    """Return a square larger than any in the shape; it stands for no voxel at all."""
    return sum((n - 1) ** 2 for n in shape) + 1


def _to_other_value(mask: NDArray[np.bool_], beyond: np.uint16) -> Squares:
    """Return the squared distance to the nearest voxel of the other value along the first axis."""
    n = len(mask)
    same = (mask[1:] == mask[:-1]).astype(np.uint16)
    steps = np.empty(mask.shape, np.uint16)
    steps[0] = n
    for i in range(1, n):  # from the front: one more than before, or 1 where the value changes
        np.multiply(steps[i - 1], same[i - 1], out=steps[i, ...])
        steps[i] += 1
    back = np.full(mask.shape[1:], n, np.uint16)
    np.minimum(steps[-1], back, out=steps[-1, ...])
    for i in range(n - 2, -1, -1):
        back = back * same[i] + np.uint16(1)
        np.minimum(steps[i], back, out=steps[i, ...])
    return np.where(steps < n, steps * steps, beyond)


def _other_axes(field: Squares) -> Squares:
    """Take the minimum over parabolas along every axis but the first."""
    for axis in range(1, field.ndim):
        lines = np.ascontiguousarray(np.moveaxis(field, axis, 0))
        field = np.moveaxis(_parabolas(lines), 0, axis)
    return field


def _parabolas(field: Squares) -> Squares:
    """Return min over k of f(x ± k) + k² along the first axis, exactly; see `edt._shifts`."""
    n = len(field)
    lines = field.reshape(n, -1)
    result = np.empty_like(lines)
    count = max(1, BLOCK // n)
    for start in range(0, lines.shape[1], count):
        some = np.ascontiguousarray(lines[:, start : start + count])
        best, moved = some.copy(), np.empty_like(some)
        for k in range(1, n):
            if k % CHECK_EVERY == 1 and k * k >= best.max():
                break
            np.add(some, np.uint16(k * k), out=moved)
            np.minimum(best[k:], moved[:-k], out=best[k:])
            np.minimum(best[:-k], moved[k:], out=best[:-k])
        result[:, start : start + count] = best
    return result.reshape(field.shape)
