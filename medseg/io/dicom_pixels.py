"""The stored values of multi-frame files: plain, packed bits, or compressed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from medseg.errors import FormatError
from medseg.io.dicom_headers import DAMAGE

BY_ITK = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, JPEG2000Lossless, JPEG2000)
"""Compressions that ITK (GDCM) decodes; pydicom decodes RLE and deflated frames itself."""

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

DEFERRED = 64
"""Bytes from which on pydicom leaves a value in the file."""

WORD_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.3"
BYTE_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.2"
"""Multi-frame Grayscale Secondary Capture: the plainest class that holds frames."""


def frame_count(dataset: Dataset) -> int:
    """Return the number of frames."""
    return int(dataset.get("NumberOfFrames") or 1)


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
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise FormatError(
            f"{path}: does not say how its pixels are stored (no TransferSyntaxUID)",
            "copy the file from its source again",
        )
    try:
        if syntax in BY_ITK:
            array = _by_itk(dataset)
        elif int(dataset.BitsAllocated) == 1 and not syntax.is_encapsulated:
            array = np.stack(list(_bits(dataset.PixelData, shape)))
        else:
            array = dataset.pixel_array.reshape(shape)
    except (*DAMAGE, RuntimeError) as error:
        reason = itk_reason(error)
        raise FormatError(f"{path}: pixels cannot be decoded ({reason})", cure(syntax)) from error
    if array.shape != shape:
        raise FormatError(
            f"{path}: decoded to shape {array.shape}, the header says {shape}",
            "copy the file from its source again",
        )
    return array


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


def itk_reason(error: Exception) -> str:
    """Return the last line of an error, without the addresses that ITK puts in front."""
    lines = str(error).strip().splitlines()
    return re.sub(r"^ITK ERROR: \w+\(0x\w+\): ", "", lines[-1].strip()) if lines else repr(error)


def check_length(path: Path) -> None:
    """Refuse a file whose header says another size than its pixels have: ITK reads noise then.

    Raises
    ------
    FormatError
        If there are too few bytes, or twice as many. Compressed pixels are left to their decoder.
    """
    tags = ["Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "NumberOfFrames", "PixelData"]
    try:
        with disable_value_validation():
            dataset = pydicom.dcmread(path, defer_size=DEFERRED, specific_tags=tags)
        stored = dataset.get_item("PixelData", keep_deferred=True)
        if stored is not None and dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            return
        sides = int(dataset.Rows) * int(dataset.Columns) * frame_count(dataset)
        needed = sides * int(dataset.get("SamplesPerPixel") or 1) * int(dataset.BitsAllocated) // 8
    except DAMAGE as error:
        raise FormatError(
            f"{path}: pixels cannot be decoded ({error})", "copy the file from its source again"
        ) from error
    found = getattr(stored, "length", 0)
    if not needed <= found < 2 * needed:  # a few bytes of padding are common
        raise FormatError(
            f"{path}: holds {found} bytes of pixels, its header says {needed}",
            "copy the file from its source again",
        )


def cure(syntax: UID | None) -> str:
    """Say how pixels can be mended: another decoder, or another copy."""
    if syntax is None:
        return "copy the file from its source again"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return f"nothing here decodes {syntax.name}; decompress it first (gdcmconv --raw)"
    if syntax not in BY_ITK and not decoder.is_available:
        return f"install a decoder of {syntax.name}, or decompress it first (gdcmconv --raw)"
    return "copy the file again; if it opens elsewhere, decompress it first (gdcmconv --raw)"
