"""What the headers of DICOM slices say: where each stands; pixels are not read here."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from pydicom.datadict import keyword_for_tag
from pydicom.errors import BytesLengthException, InvalidDicomError
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
    "EchoTime",
    "DiffusionBValue",
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "RescaleSlope",
    "RescaleIntercept",
]

Trait = float | str
"""What may tell apart two slices at one place."""

COUNTS = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "SeriesNumber")
"""Tags with one whole number."""
PLACING = ("PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient")
"""Tags with numbers that place a slice."""
SCALING = ("RescaleSlope", "RescaleIntercept")
"""Tags with a number each that turn stored values into true ones; a decoder passes over others."""

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
    InvalidDicomError, BytesLengthException, EOFError, OSError, ValueError, KeyError,
    AttributeError, TypeError, NotImplementedError, struct.error,
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
    traits: Mapping[str, Trait] = field(default_factory=dict)
    """What it says besides its place; keys of `medseg.io.dicom_volumes.SHOWN_AS`."""

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


def read_header(path: Path) -> pydicom.Dataset:
    """Read what `TAGS` names of one file.

    Raises
    ------
    FormatError
        If the header cannot be read, or ends before it says what an image's header says.
    """
    try:
        with disable_value_validation():  # whose warnings repeat who the patient is
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
            kind = UID(str(header.file_meta.get("MediaStorageSOPClassUID", "")))
            _check_values(header)
    except DAMAGE as error:
        raise FormatError(
            f"{path}: DICOM header cannot be read ({error})", "copy the file from its source again"
        ) from error
    known = kind.name != kind
    if not known and "Rows" not in header and "Modality" not in header:
        raise FormatError(
            f"{path}: DICOM header cannot be read (it does not say of what class it is)",
            "copy the file from its source again",
        )
    if kind.name.endswith("Image Storage") and "Rows" not in header:
        what = kind.name.removesuffix(" Storage")
        raise FormatError(
            f"{path}: the header of a {what} ends before the size of the picture; the file is cut "
            "short",
            "copy the file from its source again",
        )
    return header


def check_scale(keyword: str, value: Any) -> float:
    """Return the number in RescaleSlope or RescaleIntercept.

    Raises
    ------
    ValueError
        If it is none: pixels would be read as they are stored, in no unit.
    """
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"{keyword} is {number}, so the values of its pixels are not known")
    return number


def _check_values(header: pydicom.Dataset) -> None:
    """Refuse values that are not of their type; pydicom looks at each when it is asked for only."""
    for tag in list(header.keys()):
        keyword = keyword_for_tag(tag) or str(tag)
        try:
            value = header[tag].value
            if keyword in COUNTS and (value is not None or keyword in ("Rows", "Columns")):
                int(value)
            if keyword in PLACING and value is not None:
                np.asarray(value, dtype=float)
            if keyword in SCALING and value is not None:
                float(value)
        except DAMAGE as error:  # which may repeat who the patient is
            raise ValueError(f"{keyword} is not what the standard says") from error
        if keyword in SCALING and value is not None:
            check_scale(keyword, value)
