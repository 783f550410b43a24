"""Files of many frames: what the functional groups say of each, and their pixels.

Enhanced CT, MR and PET images, segmentations and label maps hold their slices as frames; position,
orientation and rescale stand in the shared or the per-frame functional groups (PS3.3 C.7.6.16).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import RLELossless

from medseg.errors import FormatError
from medseg.io.dicom_headers import (
    DAMAGE,
    SliceHeader,
    check_grey,
    is_scout,
    numbers,
    placed,
    read_header,
)
from medseg.io.dicom_stack import Stack, stack_slices

COPIED = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "NumberOfFrames",
)
"""What a decoder must know of the pixels; rescale is left out, so that stored values come back."""

WORD_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.3"
BYTE_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.2"
"""Multi-frame Grayscale Secondary Capture: the plainest class that holds frames."""


def read_frames(path: Path) -> tuple[NDArray[Any], Stack]:
    """Read an enhanced (multi-frame) image as a stack of slices.

    Parameters
    ----------
    path : Path
        One file that holds all slices.

    Returns
    -------
    data : ndarray of shape (columns, rows, slices)
        Rescaled values, frame by frame: int16 or int32 where they are whole, else float32.
    stack : Stack
        Frames in the order of their positions.

    Raises
    ------
    FormatError
        If the frames do not say where they stand or form no regular stack (several phases,
        orientations or echoes, a gap, a scout), or the file is cut short.
    """
    check_grey(read_header(path), path)
    dataset = read_whole(path)
    count = frame_count(dataset)
    if "PerFrameFunctionalGroupsSequence" not in dataset and not _group(
        dataset, 0, "PlanePositionSequence"
    ):
        raise FormatError(
            f"{path}: multi-frame DICOM with {count} frames, which do not say where they stand "
            "(no functional groups)",
            "convert it to NIfTI (dcm2niix) or to one file per slice first",
        )
    check_group_count(dataset, path)
    stack = stack_slices([frame_header(dataset, i, path) for i in range(count)])
    scales = [_rescale(dataset, i) for i in stack.order]
    stored = decode_frames(dataset, path)
    data = np.empty((stored.shape[2], stored.shape[1], count), dtype=_type_of(stored, scales))
    for k, (i, (slope, intercept)) in enumerate(zip(stack.order, scales, strict=True)):
        data[:, :, k] = (stored[i] * slope + intercept).T
    return data, stack


def read_whole(path: Path) -> Dataset:
    """Read a DICOM file with its pixels.

    Raises
    ------
    FormatError
        If it cannot be read.
    """
    try:
        return pydicom.dcmread(path)
    except DAMAGE as error:
        raise FormatError(
            f"{path}: DICOM file cannot be read ({error})", "copy the file from its source again"
        ) from error


def frame_count(dataset: Dataset) -> int:
    """Return the number of frames."""
    return int(dataset.get("NumberOfFrames") or 1)


def check_group_count(dataset: Dataset, path: Path) -> None:
    """Refuse a file that does not describe each of its frames."""
    described = len(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    if described not in (0, frame_count(dataset)):
        raise FormatError(
            f"{path}: {frame_count(dataset)} frames, of which {described} are described (cut "
            "short?)",
            "copy the file from its source again",
        )


def frame_header(dataset: Dataset, frame: int, path: Path) -> SliceHeader:
    """Return what places one frame in the world.

    Raises
    ------
    FormatError
        If the functional groups do not hold a position, an orientation and a spacing.
    """
    needed = {
        "PlaneOrientationSequence": ("ImageOrientationPatient", 6),
        "PixelMeasuresSequence": ("PixelSpacing", 2),
        "PlanePositionSequence": ("ImagePositionPatient", 3),
    }
    found = []
    for macro, (tag, count) in needed.items():
        group = _group(dataset, frame, macro) or Dataset()
        try:
            found.append(numbers(group, tag, count, path))
        except FormatError as error:
            what = error.what.replace(f"{path}: ", f"{path}: frame {frame + 1}: ")
            raise FormatError(what, error.mend) from error
    measures = _group(dataset, frame, "PixelMeasuresSequence") or Dataset()
    header = placed(
        path,
        dataset,
        orientation=found[0],
        spacing=found[1],
        position=found[2],
        thickness=measures.get("SliceThickness"),
    )
    types = [
        (_group(dataset, frame, macro) or Dataset()).get("FrameType")
        for macro in ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence")
    ]
    scout = header.scout or any(is_scout(kind) for kind in types)
    return replace(header, frame=frame, scout=scout)


def segment_of(dataset: Dataset, frame: int) -> int | None:
    """Return the number of the segment that a frame shows; None where it does not say it."""
    group = _group(dataset, frame, "SegmentIdentificationSequence")
    number = None if group is None else group.get("ReferencedSegmentNumber")
    return None if number is None else int(number)


def decode_frames(dataset: Dataset, path: Path) -> NDArray[Any]:
    """Return the stored values (frames, rows, columns) of a grey multi-frame file.

    Raises
    ------
    FormatError
        If the pixels are cut short or cannot be decoded.
    """
    shape = (frame_count(dataset), int(dataset.Rows), int(dataset.Columns))
    if "PixelData" not in dataset:
        raise FormatError(f"{path}: holds no pixels", "copy the file from its source again")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        if syntax.is_compressed and syntax.is_encapsulated and syntax != RLELossless:
            array = _by_itk(dataset)
        elif int(dataset.BitsAllocated) == 1:
            array = np.stack(list(_bits(dataset.PixelData, shape)))
        else:
            array = dataset.pixel_array.reshape(shape)
    except (*DAMAGE, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error) else type(error).__name__
        raise FormatError(
            f"{path}: pixels cannot be decoded ({reason})",
            "copy the file again; if it opens elsewhere, decompress it first (gdcmconv --raw)",
        ) from error
    if array.shape != shape:
        raise FormatError(
            f"{path}: decoded to shape {array.shape}, the header says {shape}",
            "copy the file from its source again",
        )
    return array


def _group(dataset: Dataset, frame: int, macro: str) -> Dataset | None:
    """Return a functional group of a frame: its own, else the one that all share."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for holder in (*per_frame[frame : frame + 1], *shared[:1]):
        found = holder.get(macro)
        if found:
            item: Dataset = found[0]
            return item
    return None


def _rescale(dataset: Dataset, frame: int) -> tuple[float, float]:
    """Return slope and intercept of a frame; 1 and 0 where there are none."""
    group: Dataset = _group(dataset, frame, "PixelValueTransformationSequence") or dataset
    slope, intercept = group.get("RescaleSlope"), group.get("RescaleIntercept")
    return 1.0 if slope is None else float(slope), float(intercept or 0.0)


def _type_of(stored: NDArray[Any], scales: list[tuple[float, float]]) -> np.dtype[Any]:
    """Return the smallest type that holds the rescaled values: whole ones stay whole."""
    if stored.dtype.kind not in "iu" or any(x % 1 for pair in scales for x in pair):
        return np.dtype(np.float32)
    low, high = int(stored.min()), int(stored.max())
    ends = [v * slope + intercept for v in (low, high) for slope, intercept in scales]
    small = np.iinfo(np.int16)
    fits = small.min <= min(ends) and max(ends) <= small.max
    return np.dtype(np.int16 if fits else np.int32)


def _bits(packed: bytes, shape: tuple[int, int, int]) -> Iterator[NDArray[np.uint8]]:
    """Unpack frames of one bit per pixel, which follow each other without gaps (PS3.5 8.1.1)."""
    frames, rows, columns = shape
    size = rows * columns
    if len(packed) * 8 < frames * size:
        raise ValueError(f"{len(packed)} bytes for {frames} frames of {size} bits")
    octets = np.frombuffer(packed, dtype=np.uint8)
    for frame in range(frames):
        start = frame * size
        part = np.unpackbits(octets[start // 8 : -(-(start + size) // 8)], bitorder="little")
        yield part[start % 8 : start % 8 + size].reshape(rows, columns)


def _by_itk(dataset: Dataset) -> NDArray[Any]:
    """Let ITK (GDCM) decode compressed frames, from a copy that holds nothing but the pixels."""
    copy = Dataset()
    copy.file_meta = FileMetaDataset()
    copy.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    copy.SOPClassUID = BYTE_CAPTURE if int(dataset.BitsAllocated) == 8 else WORD_CAPTURE
    copy.SOPInstanceUID = dataset.SOPInstanceUID
    copy.file_meta.MediaStorageSOPClassUID = copy.SOPClassUID
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    for keyword in COPIED:
        if keyword in dataset:
            setattr(copy, keyword, dataset.get(keyword))
    copy["PixelData"] = dataset["PixelData"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.dcm"
        copy.save_as(path, enforce_file_format=True)
        array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO"))
    return array.reshape(1, *array.shape) if array.ndim == 2 else array
