"""Outlines of a 2-D mask along its pixel borders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vertex = tuple[int, int]


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Trace the borders of a mask as closed loops.

    The pixel in row r and column c covers the square from (c, r) to (c + 1, r + 1), so a loop
    runs between pixels, never through their centres, and shows the mask exactly.

    Parameters
    ----------
    mask : bool ndarray of shape (rows, cols)

    Returns
    -------
    list of float64 ndarray of shape (n, 2)
        Corners (x, y) = (column, row) of each loop, the first repeated at the end; outer borders
        run clockwise on the screen (y down), holes the other way.

    Examples
    --------
    >>> outlines(np.array([[False, True]]))[0].tolist()
    [[1.0, 0.0], [2.0, 0.0], [2.0, 1.0], [1.0, 1.0], [1.0, 0.0]]
    """
    follow = _border_edges(mask)
    loops = []
    while follow:
        start = next(iter(follow))
        loop, here = [start], start
        while True:
            here = _step(follow, here)
            loop.append(here)
            if here == start:
                break
        loops.append(_corners(np.array(loop, dtype=np.float64)))
    return loops


def _border_edges(mask: NDArray[np.bool_]) -> dict[Vertex, list[Vertex]]:
    """List the unit edges between mask and background, by start; the mask lies to the right."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),  # above: its edge runs to the right
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    follow: dict[Vertex, list[Vertex]] = {}
    for neighbour, (x0, y0), (x1, y1) in sides:
        rows, cols = np.nonzero(inside & ~neighbour)
        for row, col in zip(rows.tolist(), cols.tolist(), strict=True):
            follow.setdefault((col + x0, row + y0), []).append((col + x1, row + y1))
    return follow


def _step(follow: dict[Vertex, list[Vertex]], here: Vertex) -> Vertex:
    """Take one edge out of the table and return its end."""
    ends = follow[here]
    end = ends.pop()
    if not ends:
        del follow[here]
    return end


def _corners(loop: NDArray[np.float64]) -> NDArray[np.float64]:
    """Drop the points of a closed loop where it goes straight on."""
    steps = np.diff(loop, axis=0)
    turns = np.any(steps != np.roll(steps, 1, axis=0), axis=1)
    corners = loop[:-1][turns]
    return np.concatenate([corners, corners[:1]])
