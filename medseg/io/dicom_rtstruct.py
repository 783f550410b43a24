"""RT Structure Sets: closed contours on slices, filled to masks (PS3.3 A.19, C.8.8.6)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medseg.errors import FormatError
from medseg.geometry.volume import Grid
from medseg.io.dicom_frames import read_whole
from medseg.io.dicom_headers import DAMAGE
from medseg.io.dicom_planes import OTHER_SLICES, PlanePlace
from medseg.io.dicom_seg import coded, referenced_instances, referenced_series
from medseg.io.raster import fill_polygons
from medseg.io.segment_paint import Plane
from medseg.io.segments import Segment

logger = logging.getLogger(__name__)

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])

PLANE_TOLERANCE = 0.25
"""Share of the slice distance by which a contour's points may leave a slice."""

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""Contours that enclose an area."""

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class StructureSet:
    """The contours of an RTSTRUCT."""

    path: Path
    segments: tuple[Segment, ...]
    """Its structures (ROIs)."""
    contours: Mapping[int, Sequence[tuple[str, Points]]]
    """Geometric type and points (n, 3) in RAS+ mm of each contour, by ROI number."""
    frame_of_reference: str
    instances: frozenset[str]
    """SOPInstanceUIDs of the slices it refers to."""
    series: frozenset[str]
    """SeriesInstanceUIDs of these slices."""

    def planes(self, grid: Grid, wanted: Collection[Segment]) -> Iterator[Plane]:
        """Yield the filled contours of the wanted structures, slice by slice.

        A voxel belongs to a structure if its centre lies inside an odd number of the contours on
        its slice, so contours inside others are holes, as keyholes are.

        Raises
        ------
        FormatError
            If a contour encloses no area (points, lines), or lies on no slice of the grid.
        """
        for segment in self.segments:
            if segment in wanted:
                yield from self._filled(grid, segment)

    def _filled(self, grid: Grid, segment: Segment) -> Iterator[Plane]:
        """Fill the contours of one structure."""
        to_index = np.linalg.inv(grid.matrix)
        on_slice: dict[tuple[int, int], list[Points]] = {}
        for number, (kind, points) in enumerate(self.contours.get(segment.number, ()), start=1):
            where = f"{self.path}: structure {segment.describe()}, contour {number}"
            if kind not in CLOSED:
                raise FormatError(
                    f"{where} is of type {kind or 'unknown'}, which encloses no area",
                    "leave the structure out (manifest option 'structures'), or draw it as closed "
                    "contours",
                )
            index = points @ to_index[:3, :3].T + to_index[:3, 3]
            across, k = _slice_of(index, grid, points, where)
            drawn = on_slice.setdefault((across, k), [])
            if not any(np.array_equal(index, other) for other in drawn):  # twice is not a hole
                drawn.append(index)
        self._check_axes(segment, on_slice)
        for (across, k), polygons in sorted(on_slice.items()):
            yield _plane(grid, segment, across, k, polygons)

    def _check_axes(self, segment: Segment, on_slice: Mapping[tuple[int, int], object]) -> None:
        """Refuse contours across several axes; say where slices in between have none."""
        axes = {across for across, _ in on_slice}
        if len(axes) > 1:
            raise FormatError(
                f"{self.path}: structure {segment.describe()} is drawn on planes of {len(axes)} "
                "orientations",
                "export it as contours on the image's slices only",
            )
        drawn = sorted(k for _, k in on_slice)
        skipped = sorted(set(range(drawn[0], drawn[-1])) - set(drawn)) if drawn else []
        if skipped:
            logger.warning(
                "%s: structure %s has no contour on %d slices between those it is on (such as "
                "slice %d); they count as empty",
                self.path,
                segment.describe(),
                len(skipped),
                skipped[0],
            )


def read_rtstruct(path: Path) -> StructureSet:
    """Read the structures and contours of an RTSTRUCT.

    Raises
    ------
    FormatError
        If it is damaged, or not an RTSTRUCT.
    """
    dataset = read_whole(path)
    try:
        return StructureSet(
            path=path,
            segments=_structures(path, dataset),
            contours={
                int(item.ReferencedROINumber): [
                    (
                        str(contour.get("ContourGeometricType") or ""),
                        _points(contour),
                    )
                    for contour in item.get("ContourSequence") or ()
                ]
                for item in dataset.get("ROIContourSequence") or ()
            },
            frame_of_reference=_frame_of_reference(dataset),
            instances=referenced_instances(dataset),
            series=referenced_series(dataset),
        )
    except DAMAGE as error:
        raise FormatError(
            f"{path}: not a complete RT Structure Set ({type(error).__name__}: {error})",
            "export it again, or copy the file again",
        ) from error


def _structures(path: Path, dataset: Dataset) -> tuple[Segment, ...]:
    """Read number, name and code of each structure."""
    codes = {}
    for item in dataset.get("RTROIObservationsSequence") or ():
        identified = item.get("RTROIIdentificationCodeSequence")
        if identified:
            codes[int(item.ReferencedROINumber)] = coded(identified[0])
    return tuple(
        Segment(
            path=path,
            number=int(item.ROINumber),
            name=str(item.get("ROIName") or f"structure {item.ROINumber}"),
            code=codes.get(int(item.ROINumber)),
        )
        for item in dataset.StructureSetROISequence
    )


def _points(contour: Dataset) -> Points:
    """Return the points of a contour in RAS+ mm."""
    values = np.array([float(x) for x in np.atleast_1d(contour.get("ContourData", []))])
    if values.size % 3 or not np.isfinite(values).all():
        raise ValueError(f"a contour of {values.size} coordinates, which are no triples of numbers")
    points: Points = values.reshape(-1, 3) * LPS_TO_RAS
    return points


def _frame_of_reference(dataset: Dataset) -> str:
    """Return the frame of reference that the contours stand in."""
    for holder, key in (
        ("StructureSetROISequence", "ReferencedFrameOfReferenceUID"),
        ("ReferencedFrameOfReferenceSequence", "FrameOfReferenceUID"),
    ):
        found = [str(item.get(key)) for item in dataset.get(holder) or () if item.get(key)]
        if found:
            return found[0]
    return str(dataset.get("FrameOfReferenceUID") or "")


def _slice_of(index: Points, grid: Grid, points: Points, where: str) -> tuple[int, int]:
    """Return the axis that a contour lies across, and the slice along it that it lies on."""
    if not len(index):
        raise FormatError(f"{where} has no points", "export the structure set again")
    spread = np.ptp(index, axis=0)
    # a contour of a pixel or two has no clear plane: then the axis that it hits best decides
    off = np.abs(index - np.rint(index.mean(axis=0))).max(axis=0)
    across = int(np.lexsort((off, spread))[0]) if len(index) > 2 else int(off.argmin())
    k = round(float(index[:, across].mean()))
    if off[across] > PLANE_TOLERANCE:
        lps = points.mean(axis=0) * LPS_TO_RAS
        raise FormatError(
            f"{where}, around ({lps[0]:.1f}, {lps[1]:.1f}, {lps[2]:.1f}) mm (LPS), lies on no "
            f"slice of the image: {off[across]:.2f} of the slice distance "
            f"({grid.spacing[across]:.3g} mm) away from slice {k}",
            OTHER_SLICES,
        )
    if not 0 <= k < grid.shape[across]:
        raise FormatError(
            f"{where} lies on slice {k}, the image has slices 0 to {grid.shape[across] - 1}",
            OTHER_SLICES,
        )
    return across, k


def _plane(grid: Grid, segment: Segment, across: int, k: int, polygons: Sequence[Points]) -> Plane:
    """Fill the contours on one slice."""
    first, second = (axis for axis in range(3) if axis != across)
    index: list[int | slice] = [slice(None)] * 3
    index[across] = k
    corners = [polygon[:, [first, second]] + 0.5 for polygon in polygons]  # centres are at 0.5
    return Plane(
        segment=segment,
        view=PlanePlace(index=tuple(index), transposed=True).view,
        mask=fill_polygons(corners, (grid.shape[second], grid.shape[first])),
    )
