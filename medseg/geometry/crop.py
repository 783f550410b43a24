"""Crop volumes to a box of voxels; the affine's origin moves along."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.volume import Grid, Volume


def content_box(data: NDArray[Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Find the smallest box that holds every voxel where any channel is not zero.

    Parameters
    ----------
    data : ndarray of shape (C, *spatial)

    Returns
    -------
    start, stop : tuple of int
        Half-open box along each spatial axis; the whole volume where all voxels are zero.

    References
    ----------
    .. [1] Isensee et al., nnU-Net, Nature Methods 2021: crop to the non-zero region.

    Examples
    --------
    >>> content_box(np.array([[0, 0, 7, 3, 0]]))
    ((2,), (4,))
    """
    content = np.zeros(data.shape[1:], dtype=bool)
    for channel in data:
        content |= channel != 0
    start, stop = [], []
    for axis in range(content.ndim):
        others = tuple(a for a in range(content.ndim) if a != axis)
        hit = np.flatnonzero(content.any(axis=others))
        if hit.size == 0:
            return (0,) * content.ndim, content.shape
        start.append(int(hit[0]))
        stop.append(int(hit[-1]) + 1)
    return tuple(start), tuple(stop)


def crop(volume: Volume, start: tuple[int, ...], stop: tuple[int, ...]) -> Volume:
    """Keep the voxels of a half-open box; ``data`` is a view.

    Raises
    ------
    ValueError
        If the box is empty or leaves the volume.
    """
    grid = crop_grid(volume.grid, start, stop)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return Volume(data=volume.data[:, *box], affine=grid.matrix)


def crop_grid(grid: Grid, start: tuple[int, ...], stop: tuple[int, ...]) -> Grid:
    """Return the grid of a half-open box of voxels.

    Raises
    ------
    ValueError
        If the box is empty or leaves the grid.
    """
    for a, b, n in zip(start, stop, grid.shape, strict=True):
        if not 0 <= a < b <= n:
            raise ValueError(f"box {start} to {stop} does not lie in shape {grid.shape}")
    affine = grid.matrix
    affine[:-1, -1] += affine[:-1, :-1] @ np.asarray(start, dtype=np.float64)
    return Grid.of(tuple(b - a for a, b in zip(start, stop, strict=True)), affine)
