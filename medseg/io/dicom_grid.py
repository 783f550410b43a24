"""A grid for annotations that come without their image: that of their own frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from medseg.errors import FormatError
from medseg.geometry.orientation import CORNER_TOLERANCE
from medseg.geometry.volume import Affine, Grid
from medseg.io.dicom_frames import frame_spacing
from medseg.io.dicom_headers import SliceHeader
from medseg.io.dicom_rtstruct import StructureSet
from medseg.io.dicom_seg import SegObject
from medseg.io.dicom_stack import plane_affine

AROUND = 1
"""Empty slices at either end: a structure does not end with the scan because frames end there."""


def shared_grid(objects: Sequence[SegObject | StructureSet]) -> Grid:
    """Return a grid that holds every frame and contour of annotations of one scan.

    Parameters
    ----------
    objects : sequence of SegObject or StructureSet
        At least one segmentation: contours alone say nothing of voxels.

    Returns
    -------
    Grid
        Columns and rows of the frames; along their normal the distance that frames lie apart, from
        one slice below the first to one above the last.

    Raises
    ------
    FormatError
        If the objects belong to different scans, or none is a segmentation, or frames stand at
        irregular distances.
    """
    for first, second in combinations(objects, 2):
        _check_one_scan(first, second)
    segs = [one for one in objects if isinstance(one, SegObject)]
    places = [one.places() for one in segs]
    headers = [header for own in places for header in own]
    if not headers:
        names = " and ".join(str(one.path) for one in objects)
        raise FormatError(
            f"{names}: hold contours, which do not say where the voxels are",
            "give one side as a SEG, or as a volume (NIfTI, NRRD, MHA) on the scan's grid",
        )
    plane = headers[0]
    affine = plane_affine(plane)  # a step of 1 mm along the normal
    corners = np.concatenate([_corners(header, affine) for header in headers])
    heights = np.split(corners[:, 2], np.cumsum([2 * len(own) for own in places])[:-1])
    stored = [spacing for one in segs if (spacing := frame_spacing(one.dataset))]
    step = _step([own for own in heights if len(own)], stored, plane)
    affine[:3, 2] *= step
    corners[:, 2] /= step
    to_index = np.linalg.inv(affine)
    points = [
        points @ to_index[:3, :3].T + to_index[:3, 3]
        for one in objects
        if isinstance(one, StructureSet)
        for contours in one.contours.values()
        for _, points in contours
    ]
    reached = np.rint(np.concatenate([corners, *points])).astype(int)
    low, high = reached.min(axis=0), reached.max(axis=0)
    low[2], high[2] = low[2] - AROUND, high[2] + AROUND
    affine[:3, 3] += affine[:3, :3] @ low
    return Grid.of(tuple(int(n) for n in high - low + 1), affine)


def _corners(header: SliceHeader, affine: Affine) -> NDArray[np.float64]:
    """Return where the first and the last pixel of a frame stand: column, row, mm along."""
    own = plane_affine(header)
    last = own @ [header.columns - 1, header.rows - 1, 0, 1]
    both: NDArray[np.float64] = np.linalg.inv(affine) @ np.array([own[:, 3], last]).T
    return both[:3].T


def _step(
    heights: Sequence[NDArray[np.float64]], stored: Sequence[float], plane: SliceHeader
) -> float:
    """Return the slice distance: what an object says where it fits, else the most usual one."""
    gaps = np.concatenate([np.diff(np.unique(own.round(2))) for own in heights])
    values, counts = np.unique(gaps.round(2), return_counts=True)
    usual = [float(values[counts.argmax()])] if len(values) else [plane.thickness or 1.0]
    every = np.sort(np.concatenate(heights))
    span = float(every[-1] - every[0])
    for step in (*stored, *usual):
        count = round(span / step)
        exact = span / count if count else step  # positions and distances are rounded
        offsets = (every - every[0]) / exact
        if np.abs(offsets - np.rint(offsets)).max() <= CORNER_TOLERANCE:
            return exact
    offsets = (every - every[0]) / usual[0]
    beside = np.abs(offsets - np.rint(offsets)).max() * usual[0]
    raise FormatError(
        f"{plane.path}: its frames and those it is compared with stand at irregular distances "
        f"(most are {usual[0]:.3g} mm apart, one stands {beside:.3g} mm beside)",
        "they were drawn on different slices: resample one to the other's grid (NIfTI)",
    )


def _check_one_scan(first: SegObject | StructureSet, second: SegObject | StructureSet) -> None:
    """Refuse objects of different scans."""
    names = f"{first.path} and {second.path}"
    mend = "pair objects of one scan; resample a registered one to the other's grid (NIfTI)"
    frames = {first.frame_of_reference, second.frame_of_reference} - {""}
    if len(frames) > 1:
        raise FormatError(f"{names}: stand in different frames of reference", mend)
    for what, one, other in (
        ("series", first.series, second.series),
        ("slices", first.instances, second.instances),
    ):
        if one and other:
            if one & other:
                return
            if what == "series" or not frames:
                raise FormatError(f"{names}: refer to different {what}", mend)
