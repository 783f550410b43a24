"""Outlines of a mask as closed polygons whose inside is exactly the mask's voxel centres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist
from skimage.measure import find_contours

Polygon = NDArray[np.float64]


def outline(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Trace a 2-D mask.

    Parameters
    ----------
    mask : bool ndarray of shape (n, m)

    Returns
    -------
    list of float ndarray of shape (points, 2)
        One closed polygon per piece (4 neighbours), in index coordinates; the last point is not
        the first again. A hole is joined to its piece by a channel of no width, the keyhole that
        DICOM asks of CLOSED_PLANAR contours (PS3.3 C.8.8.6.3).

    Examples
    --------
    >>> len(outline(np.array([[0, 1, 1], [0, 0, 0], [1, 1, 0]], bool)))
    2
    """
    return [_without_straight_points(_join(one[0], one[1:])) for one in rings(mask)]


def rings(mask: NDArray[np.bool_]) -> list[list[Polygon]]:
    """Trace each piece of a 2-D mask: its outline first, then its holes, each ring open."""
    pieces, _ = ndimage.label(mask)
    found = []
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        piece = np.pad(pieces[box] == number, 1).astype(np.float64)
        closed: list[Polygon] = find_contours(piece, 0.5)  # type: ignore[no-untyped-call]
        corner = np.array([side.start - 1 for side in box])
        found.append(sorted((ring[:-1] + corner for ring in closed), key=_area, reverse=True))
    return found


def _area(ring: Polygon) -> float:
    """Return the area inside a ring (shoelace formula)."""
    x, y = ring.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _join(outer: Polygon, holes: list[Polygon]) -> Polygon:
    """Join holes to their outline, the nearest first, so that no channel crosses another hole."""
    polygon, left = outer, list(holes)
    while left:
        gaps = [cdist(polygon, hole) for hole in left]
        nearest = int(np.argmin([gap.min() for gap in gaps]))
        at, there = np.unravel_index(int(gaps[nearest].argmin()), gaps[nearest].shape)
        hole = np.roll(left.pop(nearest), -int(there), axis=0)
        channel = [polygon[: at + 1], hole, hole[:1], polygon[at:]]
        polygon = np.concatenate(channel)
    return polygon


def _without_straight_points(ring: Polygon) -> Polygon:
    """Drop the points that lie on the line between their neighbours, except where it turns back."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    onward = (before * after).sum(axis=1) > 0
    kept: Polygon = ring[~((np.abs(cross) < 1e-9) & onward)]
    return kept
