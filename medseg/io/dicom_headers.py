"""What the headers of DICOM slices say: where each stands; pixels are not read here."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from medseg.errors import FormatError
from medseg.identifiers import HEADER

TAGS = [
    "SOPClassUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "SeriesDescription",
    "StudyDescription",
    "SeriesNumber",
    "Modality",
    "ImageType",
    *HEADER,
    "SOPInstanceUID",
    "FrameOfReferenceUID",
    "InstanceNumber",
    "NumberOfFrames",
    "SamplesPerPixel",
    "Rows",
    "Columns",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
]

NOT_IMAGES = frozenset({"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO", "REG", "DOC"})
"""Modalities of objects that accompany a series and are not slices of it."""

SCOUT_TYPES = frozenset({"LOCALIZER", "SCOUT"})
"""Words of ImageType (PS3.3 C.8.2.1.1.1) that mark a picture for planning, not a slice."""

ENHANCED = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{ending}"
    for ending in ("2.1", "2.2", "4.1", "4.4", "130", "128.1", "13.1.1", "13.1.2", "13.1.3")
)
"""Enhanced CT, MR, PET and 3-D X-ray and their legacy forms: one file may hold all slices."""

DAMAGE = (
    InvalidDicomError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError,
    NotImplementedError, struct.error,
)  # fmt: skip
"""What pydicom raises for files that are not as the standard says."""


@dataclass(frozen=True, kw_only=True)
class SliceHeader:
    """What one file's header says of its slice; lengths in mm, world axes LPS as DICOM has them."""

    path: Path
    series: str
    rows: int
    columns: int
    pixel_spacing: tuple[float, float]
    """Distance between rows, then between columns."""
    position: tuple[float, float, float]
    """Centre of the first pixel."""
    along_row: tuple[float, float, float]
    """Direction in which the column index grows."""
    along_column: tuple[float, float, float]
    """Direction in which the row index grows."""
    thickness: float | None
    instance: str = ""
    """SOPInstanceUID."""
    frame_of_reference: str = ""
    """FrameOfReferenceUID; slices of another one stand in another world."""
    patient: str = ""
    """PatientID; it is compared, never shown."""
    scout: bool = False
    """The image type says that it is a scout (localiser)."""
    frame: int | None = None
    """0-based number of the frame, for a file of several."""

    @property
    def name(self) -> str:
        """File name for a message, with the frame's number from 1 where there are several."""
        name = self.path.name
        return name if self.frame is None else f"frame {self.frame + 1} of {name}"

    @property
    def place(self) -> str:
        """Path for a message, with the frame's number from 1 where there are several."""
        return str(self.path) if self.frame is None else f"{self.path}: frame {self.frame + 1}"

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slice."""
        return np.cross(self.along_row, self.along_column)


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort paths by name with numbers in numeric order: ``image_2`` before ``image_10``."""
    return sorted(paths, key=lambda p: natural_key(p.name))


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Split a name into text and numbers that compare as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(p), p) if p.isdigit() else (0, 0, p) for p in parts]


def is_dicom(path: Path) -> bool:
    """Tell whether a file carries the DICOM preamble; its name does not matter."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise FormatError(f"{path}: cannot be opened ({error})", "check its permissions") from error


def is_scout(image_type: Any) -> bool:
    """Tell by the values of ImageType (or FrameType) whether a picture is a scout."""
    words = [image_type] if isinstance(image_type, str) else list(image_type or ())
    return any(str(word).strip().upper() in SCOUT_TYPES for word in words)


def has_frames(header: pydicom.Dataset) -> bool:
    """Tell whether a file says frame by frame where its slices stand, or holds several frames."""
    if header.get("SOPClassUID") in ENHANCED:
        return True
    return int(header.get("NumberOfFrames") or 1) > 1


def check_grey(header: pydicom.Dataset, path: Path) -> None:
    """Refuse objects that are no image, and colour."""
    if header.get("Modality") in NOT_IMAGES:
        raise FormatError(
            f"{path}: DICOM object of modality {header.Modality}, not a slice of an image",
            "name the folder of the image's slices; SEG and RTSTRUCT can be a case's annotation",
        )
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise FormatError(f"{path}: colour DICOM", "export the grey-scale series instead")


def read_slice_header(path: Path) -> SliceHeader:
    """Read what places one slice in the world.

    Raises
    ------
    FormatError
        If the file is no single grey slice, or does not say where it stands.
    """
    return slice_header(path, read_header(path))


def slice_header(path: Path, header: pydicom.Dataset) -> SliceHeader:
    """Take from a header what places one slice in the world; see `read_slice_header`."""
    check_grey(header, path)
    if has_frames(header):
        raise FormatError(
            f"{path}: multi-frame DICOM with {header.get('NumberOfFrames')} frames among single "
            "slices",
            "keep it in a folder of its own",
        )
    return placed(
        path,
        header,
        orientation=numbers(header, "ImageOrientationPatient", 6, path),
        spacing=numbers(header, "PixelSpacing", 2, path),
        position=numbers(header, "ImagePositionPatient", 3, path),
        thickness=header.get("SliceThickness"),
    )


def placed(
    path: Path,
    header: pydicom.Dataset,
    *,
    orientation: tuple[float, ...],
    spacing: tuple[float, ...],
    position: tuple[float, ...],
    thickness: Any,
) -> SliceHeader:
    """Check the numbers that place a slice, and put them together with what the header says."""
    along_row, along_column = orientation[:3], orientation[3:]
    _check_directions(np.asarray(along_row), np.asarray(along_column), path)
    return SliceHeader(
        path=path,
        series=str(header.get("SeriesInstanceUID", "")),
        rows=int(header.Rows),
        columns=int(header.Columns),
        pixel_spacing=_two(_positive(spacing, path)),
        position=_three(position),
        along_row=_three(along_row),
        along_column=_three(along_column),
        thickness=None if thickness is None else float(thickness),
        # blanked in some anonymised sets, left in the meta header
        instance=str(
            header.get("SOPInstanceUID") or header.file_meta.get("MediaStorageSOPInstanceUID") or ""
        ),
        frame_of_reference=str(header.get("FrameOfReferenceUID") or ""),
        patient=str(header.get("PatientID") or ""),
        scout=is_scout(header.get("ImageType")),
    )


def read_header(path: Path) -> pydicom.Dataset:
    """Read what `TAGS` names of one file.

    Raises
    ------
    FormatError
        If the header cannot be read, or ends before it says what an image's header says.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
        kind = header.file_meta.get("MediaStorageSOPClassUID", UID("")).name
    except DAMAGE as error:
        raise FormatError(
            f"{path}: DICOM header cannot be read ({error})", "copy the file from its source again"
        ) from error
    if kind.endswith("Image Storage") and "Rows" not in header:
        raise FormatError(
            f"{path}: the header of a {kind.removesuffix(' Storage')} ends before the size of the "
            "picture; the file is cut short",
            "copy the file from its source again",
        )
    return header


def numbers(header: pydicom.Dataset, tag: str, count: int, path: Path) -> tuple[float, ...]:
    """Return a header entry of several finite numbers."""
    value: Any = header.get(tag)
    found = () if value is None else tuple(float(x) for x in np.atleast_1d(value))
    if len(found) != count or not np.isfinite(found).all():
        raise FormatError(
            f"{path}: {tag} is {value!r}, {count} numbers are needed to place the slice",
            "use a cross-sectional series (CT, MR, PET); export a radiograph as PNG",
        )
    return found


def _positive(spacing: tuple[float, ...], path: Path) -> tuple[float, ...]:
    """Refuse a pixel spacing that is not positive."""
    if min(spacing) <= 0:
        raise FormatError(f"{path}: PixelSpacing is {spacing}", "export the series again")
    return spacing


def _check_directions(row: NDArray[np.float64], column: NDArray[np.float64], path: Path) -> None:
    """Refuse directions that are not two perpendicular unit vectors."""
    lengths = (np.linalg.norm(row), np.linalg.norm(column))
    if not np.allclose(lengths, 1, atol=1e-2) or abs(row @ column) > 1e-2:
        raise FormatError(
            f"{path}: ImageOrientationPatient {(*row, *column)} is not a pair of perpendicular "
            "unit vectors",
            "export the series again",
        )


def _two(values: tuple[float, ...]) -> tuple[float, float]:
    """Tell mypy that there are two."""
    return values[0], values[1]


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    """Tell mypy that there are three."""
    return values[0], values[1], values[2]
