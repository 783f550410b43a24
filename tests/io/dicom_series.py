"""Write small DICOM series whose every trait is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def write_slice(
    path: Path,
    pixels: NDArray[np.int16],
    position: Sequence[float],
    *,
    series: str,
    orientation: Sequence[float] = AXIAL,
    spacing: tuple[float, float] = (1.0, 1.0),
    thickness: float = 5.0,
    slope: float = 1.0,
    intercept: float = 0.0,
    description: str = "test",
) -> Path:
    """Write one CT slice; ``pixels`` are stored values (rows, columns), lengths LPS mm."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    header.StudyInstanceUID = ""
    header.SeriesInstanceUID = series
    header.SeriesDescription = description
    header.PatientID = "P1"
    header.Modality = "CT"
    header.ImagePositionPatient = [float(x) for x in position]
    header.ImageOrientationPatient = [float(x) for x in orientation]
    header.PixelSpacing = list(spacing)
    header.SliceThickness = thickness
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15
    header.PixelRepresentation = 1
    header.RescaleSlope, header.RescaleIntercept = slope, intercept
    header.PixelData = pixels.astype("<i2").tobytes()
    header.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    data: NDArray[np.int16],
    *,
    step: float = 2.0,
    names: Sequence[str] | None = None,
    series: str | None = None,
    skip: Sequence[int] = (),
    **settings: object,
) -> Path:
    """Write ``data`` (columns, rows, slices) as an axial series from (0, 0, 0) upwards."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = series or generate_uid()
    for k in range(data.shape[2]):
        if k not in skip:
            name = names[k] if names else f"slice_{k}"
            write_slice(folder / name, data[:, :, k].T, (0, 0, k * step), series=uid, **settings)
    return folder
