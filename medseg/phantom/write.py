"""Write phantoms as real archives hold them: several orientations, NIfTI or DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from medseg.geometry.volume import Volume
from medseg.io.volumes import write_nifti
from medseg.phantom.ct import PhantomSettings, make_phantom
from medseg.phantom.dicom_files import write_dicom_series

Format = Literal["nifti", "dicom"]

ORIENTATIONS = ("RAS", "LPS", "LAS", "RPI", "LPS", "ASL")
"""Stored axes of NIfTI cases, in turn."""

_AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def stored_as(volume: Volume, codes: str) -> Volume:
    """Turn the axes of a RAS+ volume into a stored order; every voxel keeps its place.

    Parameters
    ----------
    volume : Volume
        Three spatial axes, RAS+.
    codes : str
        Where each stored axis leads, such as ``LPS``.

    Examples
    --------
    >>> import numpy as np
    >>> volume = Volume(data=np.arange(3).reshape(1, 3, 1, 1), affine=np.eye(4))
    >>> stored_as(volume, "LAS").data.ravel().tolist()
    [2, 1, 0]
    """
    axes = [_AXES[code] for code in codes]
    order = [axis for axis, _ in axes]
    data = volume.data.transpose(0, *(1 + axis for axis in order))
    affine = np.eye(4)
    affine[:3, 3] = volume.affine[:3, 3]
    for stored, (axis, sign) in enumerate(axes):
        step = volume.affine[:3, axis]
        affine[:3, stored] = sign * step
        if sign < 0:
            data = np.flip(data, axis=1 + stored)
            affine[:3, 3] += (volume.data.shape[1 + axis] - 1) * step
    return Volume(data=np.ascontiguousarray(data), affine=affine)


def write_case(
    folder: Path,
    seed: int,
    index: int,
    *,
    file_format: Format = "nifti",
    settings: PhantomSettings | None = None,
) -> tuple[Path, Path]:
    """Make one phantom and write ``images/<id>`` and ``labels/<id>.nii.gz``.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    seed, index : int
        See `medseg.phantom.make_phantom`.
    file_format : {"nifti", "dicom"}
        Form of the image. NIfTI cases take the orientations in turn; a DICOM series has axial
        slices, files in no order of position.
    settings : PhantomSettings, optional
        Spacing, extent and noise.

    Returns
    -------
    image, label : Path
        A file (or the folder of a series) and the label file on the same grid.
    """
    image, label = make_phantom(seed, index, settings)
    truth = Volume(data=label[None], affine=image.affine)
    codes = ORIENTATIONS[index % len(ORIENTATIONS)] if file_format == "nifti" else "LPS"
    name = case_id(index)
    image_path, label_path = case_paths(folder, index, file_format)
    image_path.parent.mkdir(parents=True, exist_ok=True)
    label_path.parent.mkdir(parents=True, exist_ok=True)
    if file_format == "nifti":
        write_nifti(image_path, stored_as(image, codes))
    else:
        write_dicom_series(image_path, stored_as(image, codes), patient=name, seed=seed)
    write_nifti(label_path, stored_as(truth, codes))
    return image_path, label_path


def case_id(index: int) -> str:
    """Return the id of a phantom, such as ``phantom_003``."""
    return f"phantom_{index:03d}"


def case_paths(folder: Path, index: int, file_format: Format) -> tuple[Path, Path]:
    """Return where `write_case` puts image and label."""
    name = case_id(index)
    image = f"{name}.nii.gz" if file_format == "nifti" else name
    return folder / "images" / image, folder / "labels" / f"{name}.nii.gz"
