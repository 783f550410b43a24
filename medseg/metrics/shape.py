"""How large a structure is: its volume, its largest diameters, and where it meets the scan's edge.

A diameter is measured between points of the mesh that marching cubes puts around a mask at level
0.5: each lies half a voxel beyond the last voxel centre along one axis [1]_.

References
----------
.. [1] Zwanenburg et al., The Image Biomarker Standardization Initiative, Radiology 2020; feature
   L0JK (maximum 3D diameter) and RNU0 (volume from voxel counting).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from medseg.geometry.orientation import NEGATIVE, POSITIVE, axis_codes
from medseg.geometry.volume import Affine, Grid
from medseg.metrics.box import content_box
from medseg.metrics.volume import voxel_size

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]

ROWS_AT_ONCE = 1024
"""Hull points whose distances to all others are held in memory together."""


@dataclass(frozen=True, kw_only=True)
class Diameter:
    """The longest straight line between two points of a structure's surface."""

    length_mm: float
    """In mm; px for photographs."""
    start: tuple[float, ...]
    """One end in world coordinates (RAS+ mm; px for photographs)."""
    end: tuple[float, ...]
    slice_index: int | None = None
    """Slice along the head-foot axis in which it lies; ``None`` where it was not held to one."""


def structure_volume_ml(mask: Mask, grid: Grid) -> float:
    """Return the volume of a mask: its voxels times the volume of one, in mL (px in 2-D).

    Parameters
    ----------
    mask : bool ndarray of shape grid.shape
    grid : Grid

    Examples
    --------
    >>> structure_volume_ml(np.ones((10, 10, 10), bool), Grid.of((10, 10, 10), np.eye(4)))
    1.0
    """
    return int(np.count_nonzero(mask)) * voxel_size(grid)


def largest_diameter(mask: Mask, grid: Grid) -> Diameter | None:
    """Find the largest distance within a structure, in any direction.

    Only the corners of its convex hull can be the ends.

    Parameters
    ----------
    mask : bool ndarray of shape grid.shape
        2-D or 3-D.
    grid : Grid
        Any affine, oblique and anisotropic ones too.

    Returns
    -------
    Diameter or None
        None where the mask is empty.
    """
    box = content_box(mask)
    if box is None:
        return None
    start = np.array([side.start for side in box])
    points = _surface_points(mask[box]) + start
    return _longest(_to_world(points, grid.matrix))


def largest_axial_diameter(mask: Mask, grid: Grid) -> Diameter | None:
    """Find the largest distance between two points of a structure within one axial slice.

    Axial slices are those across the voxel axis closest to head-foot, in an oblique scan as they
    stand. A photograph is one slice.

    Parameters
    ----------
    mask : bool ndarray of shape grid.shape
    grid : Grid

    Returns
    -------
    Diameter or None
        The longest over all slices; None where the mask is empty.
    """
    if grid.ndim == 2:
        return largest_diameter(mask, grid)
    box = content_box(mask)
    if box is None:
        return None
    axis = _head_foot_axis(grid)
    best: Diameter | None = None
    for bound, index, points in sorted(_slices(mask, box, axis, grid), key=lambda one: -one[0]):
        if best is not None and bound <= best.length_mm:
            break
        found = _longest(points)
        if best is None or found.length_mm > best.length_mm:
            best = Diameter(
                length_mm=found.length_mm, start=found.start, end=found.end, slice_index=index
            )
    return best


def touched_sides(mask: Mask, grid: Grid) -> tuple[str, ...]:
    """Name the sides of the scan that a structure reaches, where it may go on unseen.

    Parameters
    ----------
    mask : bool ndarray of shape grid.shape
    grid : Grid
        Of a volume.

    Returns
    -------
    tuple of str
        Of ``R L A P S I`` (to the patient's right, left, front, back, head, feet), in axis order.

    Examples
    --------
    >>> mask = np.zeros((4, 4, 4), bool)
    >>> mask[1:3, 1:3, 2:] = True
    >>> touched_sides(mask, Grid.of(mask.shape, np.eye(4)))
    ('S',)
    """
    sides = []
    for axis, code in enumerate(axis_codes(grid.matrix)):
        layers = np.moveaxis(mask, axis, 0)
        opposite = dict(zip(POSITIVE + NEGATIVE, NEGATIVE + POSITIVE, strict=True))[code]
        sides += [opposite] if layers[0].any() else []
        sides += [code] if layers[-1].any() else []
    return tuple(sides)


def _slices(
    mask: Mask, box: tuple[slice, ...], axis: int, grid: Grid
) -> Iterator[tuple[float, int, Points]]:
    """Yield each axial slice's longest possible length, its index and its surface points in mm."""
    across = [a for a in range(3) if a != axis]
    steps = grid.matrix[:3, :3][:, across]
    for index in range(box[axis].start, box[axis].stop):
        plane = np.take(mask, index, axis=axis)
        inner = content_box(plane)
        if inner is None:
            continue
        flat = _surface_points(plane[inner]) + [side.start for side in inner]
        points = np.full((len(flat), 3), float(index))
        points[:, across] = flat
        sides = steps * [side.stop - side.start for side in inner]
        yield float(np.linalg.norm(sides, axis=0).sum()), index, _to_world(points, grid.matrix)


def _surface_points(mask: Mask) -> Points:
    """Return index coordinates of mesh points among which all corners of the convex hull are.

    A corner belongs to a voxel that is the first or the last of its line along every axis: any
    other lies between two voxels of the mask, and so does its surface.
    """
    outer = mask.copy()
    for axis in range(mask.ndim):
        outer &= _line_ends(mask, axis)
    voxels = np.argwhere(outer).astype(np.float64)
    shifts = np.concatenate([0.5 * np.eye(mask.ndim), -0.5 * np.eye(mask.ndim)])
    points: Points = (voxels[:, np.newaxis] + shifts).reshape(-1, mask.ndim)
    return points


def _line_ends(mask: Mask, axis: int) -> Mask:
    """Mark the first and last true voxel of each line along an axis (elsewhere maybe more)."""
    size = mask.shape[axis]
    first = np.expand_dims(mask.argmax(axis=axis), axis)
    last = size - 1 - np.expand_dims(np.flip(mask, axis).argmax(axis=axis), axis)
    shape = [size if a == axis else 1 for a in range(mask.ndim)]
    index = np.arange(size).reshape(shape)
    ends: Mask = (index == first) | (index == last)
    return ends


def _longest(points: Points) -> Diameter:
    """Return the pair of points that is farthest apart, in 2-D, 3-D or within a plane of 3-D."""
    corners = points[_hull(points)]
    best, pair = -1.0, (0, 0)
    for start in range(0, len(corners), ROWS_AT_ONCE):
        distances = cdist(corners[start : start + ROWS_AT_ONCE], corners)
        row, column = np.unravel_index(int(distances.argmax()), distances.shape)
        if distances[row, column] > best:
            best, pair = float(distances[row, column]), (start + int(row), int(column))
    start_point, end_point = sorted(tuple(map(float, corners[i])) for i in pair)
    return Diameter(length_mm=best, start=start_point, end=end_point)


def _hull(points: Points) -> NDArray[np.int32]:
    """Return the indices of the convex hull's corners; points of one plane are laid flat first."""
    centred = points - points.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred.T @ centred)
    flat = centred @ directions[sizes > 1e-9 * sizes[0]].T
    corners: NDArray[np.int32] = ConvexHull(flat).vertices
    return corners


def _to_world(points: Points, affine: Affine) -> Points:
    """Take index coordinates (N, ndim) to world ones."""
    world: Points = points @ affine[:-1, :-1].T + affine[:-1, -1]
    return world


def _head_foot_axis(grid: Grid) -> int:
    """Return the voxel axis closest to head-foot."""
    return next(a for a, code in enumerate(axis_codes(grid.matrix)) if code in "SI")
