"""DICOM Segmentation objects: BINARY, FRACTIONAL and LABELMAP (PS3.3 A.51 and A.86)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medseg.errors import FormatError
from medseg.geometry.volume import Grid
from medseg.io.dicom_frames import (
    check_group_count,
    frame_header,
    read_whole,
    segment_of,
)
from medseg.io.dicom_headers import DAMAGE, SliceHeader
from medseg.io.dicom_pixels import decode_frames, frame_count
from medseg.io.dicom_planes import place_plane
from medseg.io.segment_paint import Plane
from medseg.io.segments import Segment, describe_segments

HALF = 0.5
"""Share of MaximumFractionalValue from which a voxel of a FRACTIONAL segment belongs to it."""

CLASSES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation",
}
STUDY_CLASSES = "1.2.840.10008.3.1.2.3."
"""Retired classes by which structure sets refer to a study."""

BINARY, FRACTIONAL, LABELMAP = "BINARY", "FRACTIONAL", "LABELMAP"


@dataclass(frozen=True, kw_only=True)
class SegObject:
    """A segmentation whose pixels are still packed."""

    path: Path
    segments: tuple[Segment, ...]
    """Without the background of a label map."""
    kind: str
    """``BINARY``, ``FRACTIONAL`` or ``LABELMAP``."""
    frame_of_reference: str
    instances: frozenset[str]
    """SOPInstanceUIDs of the slices it refers to."""
    series: frozenset[str]
    """SeriesInstanceUIDs of these slices."""
    dataset: Dataset

    def planes(self, grid: Grid, wanted: Collection[Segment]) -> Iterator[Plane]:
        """Yield the planes of the wanted segments; frames that are not stored are empty.

        Raises
        ------
        FormatError
            If the pixels are damaged, or a frame that is not empty stands on no slice of the grid.
        """
        for segment, header, mask in self.masks(wanted):
            if mask.any():
                yield Plane(segment=segment, view=place_plane(grid, header).view, mask=mask)

    def places(self) -> list[SliceHeader]:
        """Say where each of its frames stands.

        Raises
        ------
        FormatError
            If one does not say it.
        """
        frames = range(frame_count(self.dataset))
        return [frame_header(self.dataset, frame, self.path) for frame in frames]

    def masks(
        self, wanted: Collection[Segment]
    ) -> Iterator[tuple[Segment, SliceHeader, NDArray[np.bool_]]]:
        """Yield segment, place and pixels (rows, columns) of each frame."""
        by_number = {segment.number: segment for segment in self.segments}
        pixels = decode_frames(self.dataset, self.path)
        for frame in range(frame_count(self.dataset)):
            header = frame_header(self.dataset, frame, self.path)
            if self.kind == LABELMAP:
                self._check_described(pixels[frame], by_number, frame)
                found = [(s, pixels[frame] == n) for n, s in by_number.items()]
            else:
                found = [(self._shown(frame, by_number), self._belongs(pixels[frame]))]
            for segment, mask in found:
                if segment in wanted:
                    yield segment, header, mask

    def _belongs(self, plane: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell which pixels belong to a segment."""
        if self.kind == BINARY:
            return plane.astype(bool)
        most = float(self.dataset.get("MaximumFractionalValue") or 255)
        return np.asarray(plane >= HALF * most)

    def _shown(self, frame: int, by_number: dict[int, Segment]) -> Segment:
        """Return the segment that a frame shows."""
        number = segment_of(self.dataset, frame)
        if number is None and len(by_number) == 1:
            return next(iter(by_number.values()))
        if number not in by_number:
            raise FormatError(
                f"{self.path}: frame {frame + 1} belongs to segment {number}, which is not "
                f"described; described are {describe_segments(self.segments)}",
                "export the segmentation again",
            )
        return by_number[number]

    def _check_described(
        self, plane: NDArray[Any], by_number: dict[int, Segment], frame: int
    ) -> None:
        """Refuse values of a label map that no segment describes."""
        padding = self.dataset.get("PixelPaddingValue")
        empty = {0} | (set() if padding is None else {int(padding)})
        unknown = sorted(set(np.unique(plane).tolist()) - set(by_number) - empty)
        if unknown:
            raise FormatError(
                f"{self.path}: frame {frame + 1} holds {', '.join(map(str, unknown))}, which no "
                f"segment describes; described are {describe_segments(self.segments)}",
                "export the segmentation again",
            )


def read_seg(path: Path) -> SegObject:
    """Read a DICOM Segmentation.

    Parameters
    ----------
    path : Path
        A Segmentation (BINARY or FRACTIONAL) or Label Map Segmentation.

    Raises
    ------
    FormatError
        If it is of another class (a surface segmentation), says no position for its frames, or is
        damaged.
    """
    dataset = read_whole(path)
    try:
        return _checked(path, dataset)
    except FormatError:
        raise
    except DAMAGE as error:
        raise FormatError(
            f"{path}: not a complete DICOM Segmentation ({type(error).__name__}: {error})",
            "export it again, or copy the file again",
        ) from error


def _checked(path: Path, dataset: Dataset) -> SegObject:
    """Look at what kind of segmentation it is, and at its segments."""
    kind = str(dataset.get("SegmentationType") or BINARY)
    if dataset.get("SOPClassUID") not in CLASSES or kind not in (BINARY, FRACTIONAL, LABELMAP):
        what = getattr(dataset.get("SOPClassUID"), "name", "of no class")
        raise FormatError(
            f"{path}: {what}, type {kind}, is no segmentation of voxels that can be read",
            "convert it to a Segmentation of type BINARY, or to NIfTI on the image's grid",
        )
    check_group_count(dataset, path)
    segments = tuple(_segment(path, item) for item in dataset.SegmentSequence)
    if kind == LABELMAP:
        segments = tuple(segment for segment in segments if segment.number != 0)
    return SegObject(
        path=path,
        segments=segments,
        kind=kind,
        frame_of_reference=str(dataset.get("FrameOfReferenceUID") or ""),
        instances=referenced_instances(dataset),
        series=referenced_series(dataset),
        dataset=dataset,
    )


def _segment(path: Path, item: Dataset) -> Segment:
    """Read number, name and type of a segment."""
    types = item.get("SegmentedPropertyTypeCodeSequence")
    return Segment(
        path=path,
        number=int(item.SegmentNumber),
        name=str(item.get("SegmentLabel") or f"segment {item.SegmentNumber}"),
        code=coded(types[0]) if types else None,
    )


def coded(item: Dataset) -> tuple[str, str] | None:
    """Return scheme and value of a code item."""
    value, scheme = item.get("CodeValue"), item.get("CodingSchemeDesignator")
    return (str(scheme), str(value)) if value and scheme else None


def referenced_instances(dataset: Dataset) -> frozenset[str]:
    """List the SOPInstanceUIDs that an object refers to, anywhere in it; studies are left out."""
    return frozenset(
        str(one.ReferencedSOPInstanceUID)
        for one in _items(dataset)
        if one.get("ReferencedSOPInstanceUID")
        and not str(one.get("ReferencedSOPClassUID")).startswith(STUDY_CLASSES)
    )


def referenced_series(dataset: Dataset) -> frozenset[str]:
    """List the SeriesInstanceUIDs that an object refers to, anywhere in it."""
    uids = (one.get("SeriesInstanceUID") for one in _items(dataset) if one is not dataset)
    return frozenset(str(uid) for uid in uids if uid)


def _items(dataset: Dataset) -> Iterator[Dataset]:
    """Yield an object and the items of all its sequences."""
    todo = [dataset]
    while todo:
        one = todo.pop()
        yield one
        todo += [item for element in one if element.VR == "SQ" for item in element.value or ()]
