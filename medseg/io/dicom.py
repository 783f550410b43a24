"""Read a DICOM series as one volume.

Slices are placed by ImagePositionPatient along the slice normal; names, instance numbers and
SliceThickness are not trusted. Pixels are decoded by ITK, which handles JPEG, JPEG-LS, JPEG 2000
and RLE and applies each slice's own rescale slope and intercept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from medseg.case import VolumeRule
from medseg.errors import FormatError
from medseg.geometry.volume import Volume
from medseg.io.dicom_frames import read_frames
from medseg.io.dicom_headers import (
    SliceHeader,
    has_frames,
    is_dicom,
    natural_order,
    read_header,
)
from medseg.io.dicom_pixels import check_length, cure, itk_reason
from medseg.io.dicom_place import slice_header
from medseg.io.dicom_series import SeriesInfo, choose_series, list_series
from medseg.io.dicom_stack import stack_slices
from medseg.io.dicom_volumes import choose_volume, split_volumes

__all__ = [
    "DicomVolume",
    "SeriesIdentity",
    "SeriesInfo",
    "choose_series",
    "is_dicom",
    "list_series",
    "read_series",
]


@dataclass(frozen=True, kw_only=True)
class SeriesIdentity:
    """By what objects refer to a series (segmentations, structure sets)."""

    frame_of_reference: str
    """FrameOfReferenceUID; may be empty."""
    instances: frozenset[str]
    """SOPInstanceUID of each file; empty where they were removed."""


@dataclass(frozen=True, kw_only=True)
class DicomVolume:
    """A series as a volume, and which slice came from which file."""

    volume: Volume
    """Axes: column, row, slice along the normal of the slices; RAS+ affine."""
    slice_of_file: tuple[int, ...] | None
    """Slice index of each file, files in natural file-name order; None where files are not slices
    of the volume one by one (a multi-frame file, one volume of several)."""
    identity: SeriesIdentity


def read_series(files: Sequence[Path], rule: VolumeRule | None = None) -> DicomVolume:
    """Read the files of one series.

    Parameters
    ----------
    files : sequence of Path
        All slices of one series, in any order; or one file with all slices as frames.
    rule : VolumeRule, optional
        Which volume, where the series holds several of the same slices.

    Returns
    -------
    DicomVolume
        Rescaled values: the integer type that ITK gives, float32 for fractional slopes.

    Raises
    ------
    FormatError
        If slices differ in size, orientation or patient, one is a scout, one is missing or stands
        twice, there are several volumes and the rule picks none, or pixels cannot be decoded; the
        message names the file.
    """
    listed = [(path, read_header(path)) for path in natural_order(files)]
    framed = [path for path, header in listed if has_frames(header)]
    if framed and len(framed) == len(listed) > 1:
        raise FormatError(
            f"{framed[0].parent}: {len(framed)} multi-frame files in one series "
            f"({framed[0].name}, {framed[1].name}{', ...' if len(framed) > 2 else ''})",
            "each holds a volume of its own (a phase, an echo); keep one of them in the folder",
        )
    if framed and len(listed) == 1:
        data, stack = read_frames(framed[0], rule)
        slice_of_file = None
    else:
        headers = [slice_header(path, header) for path, header in listed]
        members = choose_volume(split_volumes(headers), rule, headers[0].path.parent).members
        stack = stack_slices([headers[i] for i in members])
        data = _pixels(stack.slices)
        ranks = tuple(int(k) for k in np.argsort(stack.order, kind="stable"))
        slice_of_file = ranks if len(ranks) == len(listed) else None
    frames = {h.frame_of_reference for h in stack.slices} - {""}
    return DicomVolume(
        volume=Volume(data=data[np.newaxis], affine=stack.affine),
        slice_of_file=slice_of_file,
        identity=SeriesIdentity(
            frame_of_reference=frames.pop() if frames else "",
            instances=frozenset(h.instance for h in stack.slices) - {""},
        ),
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
    check_length(header.path)
    try:
        image = SimpleITK.ReadImage(str(header.path), imageIO="GDCMImageIO")
    except RuntimeError as error:
        raise FormatError(
            f"{header.path}: pixels cannot be decoded ({itk_reason(error)})",
            cure(read_header(header.path).file_meta.get("TransferSyntaxUID")),
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
