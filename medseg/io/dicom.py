"""Read a DICOM series as one volume.

Slices are placed by ImagePositionPatient along the slice normal; names, instance numbers and
SliceThickness are not trusted. Pixels are decoded by ITK, which handles JPEG, JPEG-LS, JPEG 2000
and RLE and applies each slice's own rescale slope and intercept.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from medseg.errors import FormatError
from medseg.geometry.volume import Affine, Volume
from medseg.io.dicom_headers import (
    SeriesInfo,
    SliceHeader,
    choose_series,
    is_dicom,
    list_series,
    natural_order,
    read_slice_header,
)

__all__ = [
    "DicomVolume",
    "SeriesInfo",
    "choose_series",
    "is_dicom",
    "list_series",
    "read_series",
]

logger = logging.getLogger(__name__)

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

SAME_PLACE_MM = 0.01
"""Slices closer than this stand at one position."""

GAP_TOLERANCE = 0.2
"""Share of the slice distance by which one distance may differ: positions are rounded to 0.1 mm in
some exports, while a missing slice doubles the distance."""

TILT_COSINE = 0.9998
"""Slices shifted sideways by more than 1.1 degrees are reported as gantry tilt."""


@dataclass(frozen=True, kw_only=True)
class DicomVolume:
    """A series as a volume, and which slice came from which file."""

    volume: Volume
    """Axes: column, row, slice along the normal of the slices; RAS+ affine."""
    slice_of_file: tuple[int, ...]
    """Slice index of each file, files in natural file-name order."""


def read_series(files: Sequence[Path]) -> DicomVolume:
    """Read the files of one series.

    Parameters
    ----------
    files : sequence of Path
        All slices of one series, in any order.

    Returns
    -------
    DicomVolume
        Rescaled values: the integer type that ITK gives, float32 for fractional slopes.

    Raises
    ------
    FormatError
        If slices differ in size or orientation, one is missing or stands twice, or pixels cannot
        be decoded; the message names the file.
    """
    headers = [read_slice_header(path) for path in natural_order(files)]
    _check_alike(headers)
    heights = np.array([h.normal @ np.asarray(h.position) for h in headers])
    order = np.argsort(heights, kind="stable")
    ordered = [headers[i] for i in order]
    _check_distances(ordered, heights[order])
    affine = _affine(ordered)
    slice_of_file = np.argsort(order, kind="stable")
    return DicomVolume(
        volume=Volume(data=_pixels(ordered)[np.newaxis], affine=affine),
        slice_of_file=tuple(int(k) for k in slice_of_file),
    )


def _check_alike(headers: Sequence[SliceHeader]) -> None:
    """Refuse slices of another size, spacing or orientation than most."""
    kinds = [
        (
            ("size", (h.columns, h.rows)),
            ("PixelSpacing", tuple(round(s, 4) for s in h.pixel_spacing)),
            ("orientation", tuple(round(x, 3) + 0.0 for x in (*h.along_row, *h.along_column))),
        )
        for h in headers
    ]
    for entry in zip(*kinds, strict=True):
        usual = Counter(entry).most_common(1)[0][0]
        odd = [h.path for h, kind in zip(headers, entry, strict=True) if kind != usual]
        if odd:
            name, value = entry[[h.path for h in headers].index(odd[0])]
            raise FormatError(
                f"{odd[0]}: {name} {value} differs from {usual[1]} of the other slices "
                f"({len(odd)} of {len(headers)} files differ)",
                "a scout, a reformat or another series lies in the folder; move it out",
            )


def _check_distances(ordered: Sequence[SliceHeader], heights: NDArray[np.float64]) -> None:
    """Refuse slices at one position, and gaps."""
    distances = np.diff(heights)
    for (lower, upper), distance in zip(pairwise(ordered), distances, strict=True):
        if distance < SAME_PLACE_MM:
            raise FormatError(
                f"{upper.path}: stands at the same position as {lower.path.name} {upper.position}",
                "remove the copy, or keep one phase or echo of the series only",
            )
    if len(distances) == 0:
        return
    usual = float(np.sort(distances)[(len(distances) - 1) // 2])
    for k, distance in enumerate(distances):
        if abs(distance - usual) > GAP_TOLERANCE * usual:
            lost = round(distance / usual) - 1
            what = f"{lost} missing" if lost >= 1 else "an irregular distance"
            raise FormatError(
                f"{ordered[k].path.parent}: {what} between slice {k} ({ordered[k].path.name}) and "
                f"{k + 1} ({ordered[k + 1].path.name}): {distance:.3f} mm apart, the others "
                f"{usual:.3f} mm",
                "copy the whole series again, or exclude the case",
            )


def _affine(ordered: Sequence[SliceHeader]) -> Affine:
    """Build the affine from the first and last slice; the exchange from LPS to RAS is here."""
    first = ordered[0]
    start = np.asarray(first.position)
    between_rows, between_columns = first.pixel_spacing
    if len(ordered) > 1:
        step = (np.asarray(ordered[-1].position) - start) / (len(ordered) - 1)
        _check_line(ordered, step)
    else:
        step = first.normal * (first.thickness or 1.0)  # one slice has no distance to a next one
    affine = np.eye(4)
    affine[:3, 0] = np.asarray(first.along_row) * between_columns
    affine[:3, 1] = np.asarray(first.along_column) * between_rows
    affine[:3, 2] = step
    affine[:3, 3] = start
    ras: Affine = LPS_TO_RAS @ affine + 0.0  # + 0.0 turns -0.0 into 0.0
    return ras


def _check_line(ordered: Sequence[SliceHeader], step: NDArray[np.float64]) -> None:
    """Refuse slices that leave the straight line through the first and last one."""
    start = np.asarray(ordered[0].position)
    length = float(np.linalg.norm(step))
    for k, header in enumerate(ordered):
        off = float(np.linalg.norm(np.asarray(header.position) - start - k * step))
        if off > 0.5 * max(length, *header.pixel_spacing):
            raise FormatError(
                f"{header.path}: stands {off:.2f} mm beside the line through the other slices",
                "the series is irregular; resample it to a regular grid or exclude the case",
            )
    if float(step @ ordered[0].normal) < TILT_COSINE * length:
        logger.warning(
            "%s: slices are shifted sideways (gantry tilt); the affine holds the shear",
            ordered[0].path.parent,
        )


def _pixels(ordered: Sequence[SliceHeader]) -> NDArray[Any]:
    """Decode the slices to an array (columns, rows, slices)."""
    slices = [_decode(header) for header in ordered]
    dtype = np.result_type(*slices)
    if dtype.kind == "f":
        dtype = np.dtype(np.float32)
    shape = (ordered[0].columns, ordered[0].rows, len(ordered))
    data = np.empty(shape, dtype=dtype)
    for k, plane in enumerate(slices):
        data[:, :, k] = plane.T
    return data


def _decode(header: SliceHeader) -> NDArray[Any]:
    """Decode one slice (rows, columns), rescaled."""
    try:
        image = SimpleITK.ReadImage(str(header.path), imageIO="GDCMImageIO")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise FormatError(
            f"{header.path}: pixels cannot be decoded ({reason})",
            "copy the file again; if it opens elsewhere, decompress it first (gdcmconv --raw)",
        ) from error
    array = SimpleITK.GetArrayFromImage(image)
    plane: NDArray[Any] = array.reshape(array.shape[-2:]) if array.ndim == 3 else array
    if plane.shape != (header.rows, header.columns):
        raise FormatError(
            f"{header.path}: decoded to shape {plane.shape}, the header says "
            f"{(header.rows, header.columns)}",
            "copy the file from its source again",
        )
    return plane
