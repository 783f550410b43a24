"""Read any supported file or folder as a Volume; write predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.errors import FormatError
from medseg.geometry.volume import Volume
from medseg.io.dicom import choose_series, is_dicom, read_series
from medseg.io.itk import read_itk
from medseg.io.nifti import read_nifti, write_nifti
from medseg.io.picture import (
    SUFFIXES as PICTURE_SUFFIXES,
)
from medseg.io.picture import picture_files, read_mask_stack, read_picture, write_image_png

__all__ = ["has_pictures_only", "is_volume_file", "read_volume", "write_image_png", "write_nifti"]

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES


def read_volume(path: Path, series: str | None = None) -> Volume:
    """Read a volume or an image in stored axis order.

    Parameters
    ----------
    path : Path
        A NIfTI, NRRD, MHA or MHD file; a PNG, JPEG, TIFF or BMP image; one DICOM file; a folder
        with a DICOM series; or a folder with one PNG per slice, which becomes a volume of unit
        spacing (columns, rows, files in natural name order).
    series : str, optional
        SeriesInstanceUID, where a folder holds several DICOM series.

    Returns
    -------
    Volume
        ``data`` of shape (C, *spatial): stored integers, or float32.

    Raises
    ------
    FormatError
        If there is no such file, its format is unknown, or it is damaged.
    """
    if not path.exists():
        raise FormatError(f"{path}: no such file or folder", "mend the path in the manifest")
    if path.is_dir():
        if has_pictures_only(path):
            return Volume(data=read_mask_stack(picture_files(path))[np.newaxis], affine=np.eye(4))
        return read_series(choose_series(path, series).files).volume
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return read_nifti(path)
    if name.endswith(ITK_SUFFIXES):
        return read_itk(path)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return read_picture(path)
    if is_dicom(path):
        return read_series([path]).volume
    raise FormatError(
        f"{path}: format not known",
        "convert it to NIfTI, NRRD, MHA, DICOM, PNG, JPEG or TIFF",
    )


def is_volume_file(path: Path) -> bool:
    """Tell by its name whether a file is a NIfTI, NRRD, MHA or MHD volume."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def has_pictures_only(folder: Path) -> bool:
    """Tell whether a folder is a stack of images: at least one, and no DICOM file."""
    pictures = set(picture_files(folder))
    others = (p for p in folder.iterdir() if p.is_file() and p not in pictures)
    return bool(pictures) and not any(is_dicom(p) for p in others)
