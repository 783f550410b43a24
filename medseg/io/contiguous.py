"""Copy arrays of another memory order into C order."""

from __future__ import annotations

from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)

TILE = (32, 32, 8)
"""Voxels per axis of what is copied at a time: reads and writes of one tile stay in the cache."""


def contiguous(data: NDArray[T]) -> NDArray[T]:
    """Return the array in C order, copied tile by tile if it is not.

    NIfTI keeps the first axis fastest. Copied in one go, a large volume takes several times as
    long: of every cache line that is fetched, one voxel is used.

    Parameters
    ----------
    data : ndarray of shape (C, *spatial)

    Returns
    -------
    ndarray of the same shape
        ``data`` itself where it is in C order.
    """
    if data.flags.c_contiguous or data.ndim < 3:
        return np.ascontiguousarray(data)
    out = np.empty(data.shape, dtype=data.dtype)
    steps = [range(0, n, side) for n, side in zip(data.shape[1:], TILE, strict=False)]
    for start in product(*steps):
        box = (slice(a, a + side) for a, side in zip(start, TILE, strict=False))
        tile = (slice(None), *box)
        out[tile] = data[tile]
    return out
