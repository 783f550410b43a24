"""A volume as the bytes of a NIfTI file, for pages that carry their data with them."""

from __future__ import annotations

import gzip
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medseg.geometry.volume import Affine


def nifti_gz_bytes(
    data: NDArray[np.uint8], affine: Affine, *, slope: float = 1.0, intercept: float = 0.0
) -> bytes:
    """Return a uint8 volume as ``.nii.gz``; the same volume always gives the same bytes.

    Parameters
    ----------
    data : uint8 ndarray of shape (I, J, K)
    affine : float64 ndarray of shape (4, 4)
        Voxel index to RAS+ mm.
    slope, intercept : float
        A reader sees ``slope * data + intercept``.
    """
    build: Any = nib.Nifti1Image  # nibabel is typed in part only
    image = build(np.asarray(data, dtype=np.uint8), affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(slope, intercept)
    return gzip.compress(_with_scale(image.to_bytes(), slope, intercept), 6, mtime=0)


def _with_scale(raw: bytes, slope: float, intercept: float) -> bytes:
    """Put the scale into the header's bytes 112 to 119: nibabel resets it when it writes."""
    scale = np.array([slope, intercept], dtype="<f4").tobytes()
    return raw[:112] + scale + raw[120:]
