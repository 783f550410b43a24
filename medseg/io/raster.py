"""Outlines and run lengths to masks: a pixel belongs to a shape that holds its centre."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Shape2D = tuple[int, int]
"""Rows and columns."""


def fill_polygons(polygons: Sequence[ArrayLike], shape: Shape2D) -> NDArray[np.bool_]:
    """Return the pixels whose centres lie inside an odd number of outlines.

    Parameters
    ----------
    polygons : sequence of float array-like of shape (n, 2)
        Corners as (x, y) in px: x to the right, y down, (0, 0) is the outer corner of the first
        pixel, whose centre is (0.5, 0.5). An outline closes itself. Outlines inside others are
        holes.
    shape : (int, int)
        Rows and columns of the mask.

    Returns
    -------
    bool ndarray of shape (rows, cols)
        Corners outside the image are cut off; fewer than three corners enclose nothing.

    Examples
    --------
    >>> fill_polygons([[(1, 0), (3, 0), (3, 2), (1, 2)]], (2, 4)).astype(int)
    array([[0, 1, 1, 0],
           [0, 1, 1, 0]])
    """
    rows, cols = shape
    toggles = np.zeros((rows, cols + 1), dtype=np.uint8)
    for polygon in polygons:
        corners = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            low, high = min(y0, y1), max(y0, y1)
            first = max(int(np.ceil(low - 0.5)), 0)  # rows whose centre is in [low, high)
            last = min(int(np.ceil(high - 0.5)), rows)
            if first >= last:
                continue
            row = np.arange(first, last)
            crossing = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            # from here on to the right, centres have changed sides
            column = np.clip(np.ceil(crossing - 0.5), 0, cols).astype(np.intp)
            toggles[row, column] ^= 1
    inside: NDArray[np.bool_] = np.bitwise_xor.accumulate(toggles, axis=1)[:, :cols].astype(bool)
    return inside


def fill_ellipse(
    centre: tuple[float, float], radii: tuple[float, float], shape: Shape2D
) -> NDArray[np.bool_]:
    """Return the pixels whose centres lie in an upright ellipse; ``centre`` and radii as (x, y)."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    across = (x + 0.5 - centre[0]) / radii[0]
    down = (y + 0.5 - centre[1]) / radii[1]
    inside: NDArray[np.bool_] = across**2 + down**2 <= 1
    return inside


def mask_of_runs(counts: Sequence[int], shape: Shape2D) -> NDArray[np.bool_]:
    """Return the mask of COCO's run lengths: zeros first, columns one after another.

    Raises
    ------
    ValueError
        If the runs do not add up to the image.

    Examples
    --------
    >>> mask_of_runs([1, 2, 3], (2, 3)).astype(int)
    array([[0, 1, 0],
           [1, 0, 0]])
    """
    lengths = np.asarray(counts, dtype=np.int64)
    if lengths.sum() != shape[0] * shape[1] or (lengths < 0).any():
        raise ValueError(f"runs of {lengths.sum()} pixels do not fit {shape[0]} x {shape[1]}")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(shape, order="F")


def runs_of_text(text: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    Each number is written in groups of five bits, lowest first, as characters from ``0`` (48) on;
    bit 5 says that more follows, bit 4 of the last group is the sign. From the fourth number on,
    the difference to the number two before is stored.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return counts
