"""Which DICOM files form which series, and where each slice stands; pixels are not read here."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from medseg.errors import FormatError
from medseg.registry import nearest

logger = logging.getLogger(__name__)

TAGS = [
    "SOPClassUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "SeriesDescription",
    "StudyDescription",
    "Modality",
    "PatientID",
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

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slice."""
        return np.cross(self.along_row, self.along_column)


@dataclass(frozen=True, kw_only=True)
class SeriesInfo:
    """One DICOM series as a folder listing shows it."""

    uid: str
    """SeriesInstanceUID; empty where the files have none."""
    files: tuple[Path, ...]
    """In natural file-name order."""
    modality: str
    description: str
    patient: str
    """PatientID."""
    study: str
    """StudyInstanceUID; may be empty."""


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


def list_series(folder: Path, *, recursive: bool = False) -> dict[str, SeriesInfo]:
    """List the image series in a folder by SeriesInstanceUID, in file-name order.

    Parameters
    ----------
    folder : Path
    recursive : bool
        Also look into sub-folders.

    Returns
    -------
    dict of str to SeriesInfo
        Empty if there is no DICOM image. Files that are not DICOM, and DICOM objects that are not
        images (segmentations, reports, DICOMDIR), are left out.

    Raises
    ------
    FormatError
        If a file named ``.dcm`` is not DICOM, or a DICOM header cannot be read.
    """
    found: dict[str, list[tuple[Path, pydicom.Dataset]]] = {}
    entries = folder.rglob("*") if recursive else folder.iterdir()
    for path in natural_order(p for p in entries if p.is_file() and not p.name.startswith(".")):
        if not is_dicom(path):
            if path.suffix.lower() == ".dcm":
                raise FormatError(
                    f"{path}: named .dcm but has no DICOM preamble (empty or cut short?)",
                    "copy the series again, or remove the file if it does not belong to it",
                )
            logger.debug("%s is not DICOM", path)
            continue
        header = _read_dataset(path)
        if "Rows" in header and header.get("Modality") not in NOT_IMAGES:
            found.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((path, header))
    return {uid: _describe(uid, members) for uid, members in found.items()}


def choose_series(folder: Path, series: str | None) -> SeriesInfo:
    """Return the one series of a folder, or the one asked for.

    Raises
    ------
    FormatError
        If there is none, no such one, or several and ``series`` is ``None``.
    """
    found = list_series(folder)
    if not found:
        raise FormatError(
            f"{folder}: holds no DICOM image",
            "name the folder that holds the slices themselves",
        )
    if series is not None:
        if series not in found:
            raise FormatError(f"{folder}: has no series {series}", nearest(series, found))
        return found[series]
    if len(found) > 1:
        listing = "; ".join(
            f"{s.uid} ({len(s.files)} files, {s.modality}, {s.description or 'no description'})"
            for s in found.values()
        )
        raise FormatError(
            f"{folder}: holds {len(found)} DICOM series: {listing}",
            "name one of them as the image's 'series', or move them to folders of their own",
        )
    return next(iter(found.values()))


def read_slice_header(path: Path) -> SliceHeader:
    """Read what places one slice in the world.

    Raises
    ------
    FormatError
        If the file is no single grey slice, or does not say where it stands.
    """
    header = _read_dataset(path)
    if header.get("Modality") in NOT_IMAGES:
        raise FormatError(
            f"{path}: DICOM object of modality {header.Modality}, not a slice of an image",
            "convert it to NIfTI or NRRD on the image's grid first",
        )
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise FormatError(
            f"{path}: multi-frame DICOM with {header.NumberOfFrames} frames",
            "convert it to NIfTI (dcm2niix) or to one file per slice first",
        )
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise FormatError(f"{path}: colour DICOM", "export the grey-scale series instead")
    orientation = _numbers(header, "ImageOrientationPatient", 6, path)
    along_row, along_column = orientation[:3], orientation[3:]
    _check_directions(np.asarray(along_row), np.asarray(along_column), path)
    thickness = header.get("SliceThickness")
    return SliceHeader(
        path=path,
        series=str(header.get("SeriesInstanceUID", "")),
        rows=int(header.Rows),
        columns=int(header.Columns),
        pixel_spacing=_two(_positive(_numbers(header, "PixelSpacing", 2, path), path)),
        position=_three(_numbers(header, "ImagePositionPatient", 3, path)),
        along_row=_three(along_row),
        along_column=_three(along_column),
        thickness=None if thickness is None else float(thickness),
    )


def _read_dataset(path: Path) -> pydicom.Dataset:
    """Read the header of one file."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
    except (InvalidDicomError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise FormatError(
            f"{path}: DICOM header cannot be read ({error})", "copy the file from its source again"
        ) from error


def _describe(uid: str, members: list[tuple[Path, pydicom.Dataset]]) -> SeriesInfo:
    """Summarise a series by its first file."""
    first = members[0][1]
    description = first.get("SeriesDescription") or first.get("StudyDescription") or ""
    return SeriesInfo(
        uid=uid,
        files=tuple(path for path, _ in members),
        modality=str(first.get("Modality") or "unknown"),
        description=str(description),
        patient=str(first.get("PatientID") or ""),
        study=str(first.get("StudyInstanceUID") or ""),
    )


def _numbers(header: pydicom.Dataset, tag: str, count: int, path: Path) -> tuple[float, ...]:
    """Return a header entry of several finite numbers."""
    value: Any = header.get(tag)
    numbers = () if value is None else tuple(float(x) for x in value)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise FormatError(
            f"{path}: {tag} is {value!r}, {count} numbers are needed to place the slice",
            "use a cross-sectional series (CT, MR, PET); export a radiograph as PNG",
        )
    return numbers


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


def _two(numbers: tuple[float, ...]) -> tuple[float, float]:
    """Tell mypy that there are two."""
    return numbers[0], numbers[1]


def _three(numbers: tuple[float, ...]) -> tuple[float, float, float]:
    """Tell mypy that there are three."""
    return numbers[0], numbers[1], numbers[2]
