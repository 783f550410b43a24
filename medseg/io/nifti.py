"""NIfTI files <-> Volume."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medseg.errors import FormatError
from medseg.geometry.volume import Affine, Volume

logger = logging.getLogger(__name__)

SCANNER = 1
"""NIfTI transform code of scanner coordinates."""


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file, plain or gzipped, in stored axis order.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Volume
        Voxels along a fourth (and fifth) axis become channels, as do the parts of an RGB voxel.
        Stored integers keep their type; scaled and floating values become float32. The affine is
        the sform, else the qform, else what the voxel sizes say (nibabel's choice).

    Raises
    ------
    FormatError
        If the file is cut short, is no NIfTI, or its affine is singular.
    """
    try:
        image = nib.load(path)
        data = _values(image)
    except (OSError, EOFError, zlib.error, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise FormatError(
            f"{path}: cannot be read as NIfTI ({_reason(error)})",
            "the file is cut short or damaged: copy it from its source again",
        ) from error
    return Volume(data=_channels_first(data, path), affine=_affine(image, path))


def write_nifti(path: Path, volume: Volume) -> Path:
    """Write a volume with exactly its grid: sform and qform both set, units mm.

    Parameters
    ----------
    path : Path
        Ends in ``.nii`` or ``.nii.gz``.
    volume : Volume
        3-D; several channels become a fourth axis. Integers are stored in the smallest of uint8,
        int16 and int32 that holds them (so labels are uint8, int16 past 255), floats as float32.

    Returns
    -------
    Path
        ``path``.
    """
    if volume.grid.ndim != 3:
        raise ValueError(f"{path}: NIfTI is written for volumes; use write_image_png for images")
    data = np.moveaxis(volume.data, 0, -1) if len(volume.data) > 1 else volume.data[0]
    build: Any = nib.Nifti1Image  # nibabel is typed in part only
    image = build(data.astype(_stored_type(data)), volume.affine)
    image.set_sform(volume.affine, code=SCANNER)
    image.set_qform(volume.affine, code=SCANNER)  # a quaternion has no shear; the sform keeps it
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def _stored_type(data: NDArray[Any]) -> np.dtype[Any]:
    """Choose the smallest type that holds all values."""
    if data.dtype.kind == "f":
        return np.dtype(np.float32)
    if data.dtype == bool or data.size == 0:
        return np.dtype(np.uint8)
    low, high = int(data.min()), int(data.max())
    for dtype in (np.uint8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise ValueError(f"values {low} to {high} do not fit int32")


def _values(image: Any) -> NDArray[Any]:
    """Read the voxels, with the header's scaling applied."""
    data: NDArray[Any] = np.asanyarray(image.dataobj)
    if data.dtype.names:  # RGB and RGBA voxels: one more axis
        data = np.stack([data[name] for name in data.dtype.names[:3]], axis=-1)
    if data.dtype.kind == "f":
        return data.astype(np.float32, copy=False)
    if data.dtype.kind not in "iu":
        raise ValueError(f"voxels of type {data.dtype} are no grey values")
    native: NDArray[Any] = data.astype(data.dtype.newbyteorder("="), copy=False)
    return native


def _channels_first(data: NDArray[Any], path: Path) -> NDArray[Any]:
    """Turn (I, J[, K[, T[, C]]]) into (C, I, J, K)."""
    if data.ndim < 2 or data.size == 0:
        raise FormatError(f"{path}: shape {data.shape} is no volume", "export the case again")
    data = data.reshape(data.shape + (1,) * (3 - data.ndim))
    channels: NDArray[Any] = np.moveaxis(data.reshape(*data.shape[:3], -1), -1, 0)
    return channels


def _affine(image: Any, path: Path) -> Affine:
    """Return nibabel's affine, or the qform where an all-zero sform claims to be valid."""
    affine: Affine = np.array(image.affine, dtype=np.float64)
    if _singular(affine) and hasattr(image, "get_qform"):
        qform = image.get_qform(coded=True)[0]
        if qform is not None and not _singular(qform):
            logger.warning("%s: the sform is singular; its qform is used", path)
            return np.array(qform, dtype=np.float64)
    if _singular(affine):
        raise FormatError(
            f"{path}: the affine {affine[:3].tolist()} is singular, voxels have no place or size",
            "mend the header (sform, qform or pixdim) or export the case again",
        )
    return affine


def _singular(affine: Affine) -> bool:
    """Tell whether an affine cannot be inverted."""
    if not np.isfinite(affine).all():
        return True
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool((lengths <= 0).any() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3)


def _reason(error: Exception) -> str:
    """Return an exception's first line, or its type where it says nothing."""
    return str(error).strip().split("\n")[0] or type(error).__name__
