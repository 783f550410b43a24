"""Boxes cut out of stored arrays, which they may leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Readable(Protocol):
    """Anything that returns a box of voxels: a store, or an array in RAM."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of all axes, spatial ones last."""

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[Any]:
        """Read a half-open box over all axes."""


def cut(
    source: Readable,
    start: Sequence[int],
    size: Sequence[int],
    shape: Sequence[int],
    *,
    fill: float,
    dtype: type[np.generic],
) -> NDArray[Any]:
    """Copy a box of a store, filling what lies outside.

    Parameters
    ----------
    source : store
        Of shape (*spatial,) or (C, *spatial).
    start, size : sequence of int
        Box along the spatial axes; it may leave the array, or miss it altogether.
    shape : sequence of int
        Spatial shape of the source.
    fill : float
        Value outside.
    dtype : numpy type
        Of the result.

    Returns
    -------
    ndarray of shape (*size,) or (C, *size)
    """
    low = [min(max(a, 0), n) for a, n in zip(start, shape, strict=True)]
    high = [max(min(a + s, n), lo) for a, s, n, lo in zip(start, size, shape, low, strict=True)]
    lead = source.shape[: len(source.shape) - len(shape)]
    part = source.read([*(0 for _ in lead), *low], [*lead, *high])
    if [b - a for a, b in zip(low, high, strict=True)] == list(size):
        return np.array(part, dtype=dtype, order="C")
    out = np.full((*lead, *size), fill, dtype=dtype)
    inside = (slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
    box: tuple[Any, ...] = (..., *inside)
    out[box] = part
    return out
