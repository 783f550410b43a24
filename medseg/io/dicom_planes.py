"""Where a plane of an object stands among the voxels of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import FormatError
from medseg.geometry.orientation import CORNER_TOLERANCE
from medseg.geometry.volume import Affine, Grid
from medseg.io.dicom_headers import SliceHeader
from medseg.io.dicom_stack import plane_affine

OTHER_SLICES = (
    "the object was drawn on other slices: give the series it belongs to as the image, resample it "
    "to the image's grid, or exclude the case"
)


@dataclass(frozen=True, kw_only=True)
class PlanePlace:
    """The part of a grid that a plane covers."""

    index: tuple[int | slice, ...]
    transposed: bool
    """Whether rows lie along the later of the two axes that are left."""

    def view(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Return the plane (rows, columns) of a volume on the grid; writing goes through."""
        plane: NDArray[Any] = volume[self.index]
        return plane.T if self.transposed else plane


def place_plane(grid: Grid, header: SliceHeader) -> PlanePlace:
    """Find the voxels of a grid that the pixels of a plane are.

    Parameters
    ----------
    grid : Grid
        The image's, axes in any order.
    header : SliceHeader
        Position, orientation, spacing and size of the plane.

    Raises
    ------
    FormatError
        If pixels and voxels are not the same (within `CORNER_TOLERANCE` voxel at the corners), or
        the plane stands outside the grid.
    """
    to_index: Affine = np.linalg.inv(grid.matrix) @ plane_affine(header)
    column, row, start = to_index[:3, 0], to_index[:3, 1], to_index[:3, 3]
    steps = np.rint([row, column])
    axes = [int(a) for a in np.abs(steps).argmax(axis=1)]
    far = np.array([header.rows - 1, header.columns - 1])
    off = np.abs(np.array([row, column]) - steps) * np.maximum(far, 1)[:, None]
    unit = (np.abs(steps).sum(axis=1) == 1).all() and axes[0] != axes[1]
    if not unit or off.max() > CORNER_TOLERANCE:
        raise FormatError(
            f"{header.place}: pixels of {_shown(header.pixel_spacing)} mm along other lines than "
            f"the image's voxels of {_shown(grid.spacing)} mm",
            OTHER_SLICES,
        )
    return _within(grid, header, start, steps, axes)


def _within(
    grid: Grid,
    header: SliceHeader,
    start: NDArray[np.float64],
    steps: NDArray[np.float64],
    axes: list[int],
) -> PlanePlace:
    """Turn the first pixel's place and the steps into slices of the grid."""
    first = np.rint(start)
    across = 3 - sum(axes)
    beside = float(abs(start - first)[across])
    last = first + (header.rows - 1) * steps[0] + (header.columns - 1) * steps[1]
    outside = (np.minimum(first, last) < 0).any() or (
        np.maximum(first, last) >= np.array(grid.shape)
    ).any()
    if beside > CORNER_TOLERANCE or not 0 <= first[across] < grid.shape[across]:
        raise FormatError(
            f"{header.place}: stands at {_shown(header.position)} mm (LPS), where the image has no "
            f"slice ({_slices(grid, across, float(start[across]))})",
            OTHER_SLICES,
        )
    if outside or float(np.abs(start - first).max()) > CORNER_TOLERANCE:
        raise FormatError(
            f"{header.place}: {header.columns} x {header.rows} pixels from voxel "
            f"({_shown(start)}) on are not among the image's {_shown(grid.shape)} voxels",
            OTHER_SLICES,
        )
    index: list[int | slice] = [0, 0, 0]
    index[across] = int(first[across])
    for axis, step, count in zip(axes, steps, (header.rows, header.columns), strict=True):
        index[axis] = _slice(int(first[axis]), int(step[axis]), count)
    return PlanePlace(index=tuple(index), transposed=axes[0] > axes[1])


def _slice(start: int, step: int, count: int) -> slice:
    """Return the slice of ``count`` voxels from ``start`` on, forwards or backwards."""
    stop = start + step * count
    return slice(start, stop if stop >= 0 else None, step)


def _slices(grid: Grid, across: int, found: float) -> str:
    """Say between which slices a plane stands."""
    return (
        f"it would be slice {found:.2f} of 0 to {grid.shape[across] - 1}, "
        f"{grid.spacing[across]:.3g} mm apart"
    )


def _shown(numbers: object) -> str:
    """Write numbers for a message."""
    return " x ".join(f"{x:.5g}" for x in np.asarray(numbers).tolist())
