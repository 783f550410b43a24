"""What a header says of the place of its slice, checked: lines, distances, position."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from medseg.errors import FormatError
from medseg.io.dicom_headers import SliceHeader, Trait, check_grey, has_frames, is_scout


def slice_header(path: Path, header: pydicom.Dataset) -> SliceHeader:
    """Take from a header what places one slice in the world.

    Raises
    ------
    FormatError
        If the file is no single grey slice, or does not say where it stands.
    """
    check_grey(header, path)
    if has_frames(header):
        raise FormatError(
            f"{path}: multi-frame DICOM with {header.get('NumberOfFrames')} frames among single "
            "slices",
            "keep it in a folder of its own",
        )
    found = placed(
        path,
        header,
        orientation=numbers(header, "ImageOrientationPatient", 6, path),
        spacing=numbers(header, "PixelSpacing", 2, path),
        position=numbers(header, "ImagePositionPatient", 3, path),
        thickness=header.get("SliceThickness"),
    )
    return replace(
        found,
        traits=traits_of(
            frame_type=header.get("ImageType"),
            echo_time=header.get("EchoTime"),
            b_value=header.get("DiffusionBValue"),
            temporal_position=header.get("TemporalPositionIdentifier"),
            acquisition=header.get("AcquisitionNumber"),
        ),
    )


def traits_of(**values: Any) -> dict[str, Trait]:
    """Return header entries as numbers and words; those that are missing are left out."""
    found: dict[str, Trait] = {}
    for key, value in values.items():
        if value is None or value == "":
            continue
        if isinstance(value, str):
            found[key] = value
        elif isinstance(value, Iterable):
            parts = [part if isinstance(part, str) else f"{part:.3g}" for part in value]
            found[key] = " ".join(parts)
        else:
            found[key] = float(value)
    return found


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


def numbers(header: pydicom.Dataset, tag: str, count: int, path: Path) -> tuple[float, ...]:
    """Return a header entry of several finite numbers."""
    value: Any = header.get(tag)
    found = () if value is None else tuple(float(x) for x in np.atleast_1d(value))
    if len(found) != count or not np.isfinite(found).all():
        raise FormatError(
            f"{path}: {tag} is {value!r}, {count} numbers are needed to place the slice",
            "use a cross-sectional series (CT, MR, PET), exported with all its geometry; export a "
            "radiograph as PNG",
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
