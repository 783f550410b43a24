"""Write a CT volume as a DICOM series of plain CT images, as a scanner exports it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medseg.geometry.volume import Volume

INTERCEPT = -1024
TO_LPS = np.diag([-1.0, -1.0, 1.0])


def write_dicom_series(
    folder: Path, volume: Volume, *, patient: str, seed: int = 0, description: str = "PHANTOM CT"
) -> list[Path]:
    """Write one file per position along the last axis.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    volume : Volume
        int16 Hounsfield units of shape (1, columns, rows, slices); any orientation, oblique too.
    patient : str
        PatientID; with the seed it also gives the UIDs, so that the same series is written twice.
    seed : int
        Seed of the UIDs and of the file order.
    description : str
        SeriesDescription.

    Returns
    -------
    list of Path
        Files in the order of the slices. Their names follow a shuffled order, as real ones do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = volume.data.shape[-1]
    names = np.random.default_rng([seed, count]).permutation(count)
    paths = []
    for k in range(count):
        path = folder / f"IM{names[k]:04d}.dcm"
        slice_dataset(volume, k, patient, seed, description).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def slice_dataset(volume: Volume, k: int, patient: str, seed: int, description: str) -> Any:
    """Return slice ``k`` as a pydicom data set."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def uid(*parts: object) -> Any:
        return generate_uid(entropy_srcs=["medseg", str(seed), patient, *map(str, parts)])

    affine = np.eye(4)
    affine[:3] = TO_LPS @ volume.affine[:3]
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    position = affine[:3, 3] + k * affine[:3, 2]
    pixels = np.ascontiguousarray(volume.data[0, :, :, k].T.astype(np.int32) - INTERCEPT)

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = uid("slice", k)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uid("slice", k)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study"), uid("series")
    dataset.FrameOfReferenceUID = uid("frame")
    dataset.PatientID = dataset.PatientName = patient
    dataset.Modality, dataset.SeriesDescription = "CT", description
    dataset.SeriesNumber, dataset.InstanceNumber = 1, k + 1
    dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = dataset.StudyID = ""
    dataset.PatientBirthDate = dataset.PatientSex = dataset.Manufacturer = ""
    dataset.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = decimals(position)
    dataset.ImageOrientationPatient = decimals(affine[:3, :2].T.ravel() / steps[[0] * 3 + [1] * 3])
    dataset.PixelSpacing = decimals(steps[[1, 0]])
    dataset.SliceThickness = decimals(steps[2:])[0]
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, INTERCEPT, "HU"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    return dataset


def decimals(values: Any) -> list[str]:
    """Write numbers as DICOM decimal strings, 16 characters at most."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(value)) for value in values]
