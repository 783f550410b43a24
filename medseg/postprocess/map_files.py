"""Write probability and uncertainty maps beside a prediction, on the grid of its input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.orientation import reorient_to
from medseg.geometry.volume import Grid, Volume
from medseg.io.volumes import write_image_png, write_nifti


def write_map(path: Path, values: NDArray[np.uint8], canonical: Grid, stored: Grid) -> Path:
    """Write one map of a case.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz`` for volumes, ``.png`` for photographs.
    values : uint8 ndarray of shape (channels, *canonical.shape)
        255 stands for 1. Volumes are written as float32 in [0, 1], several channels as a fourth
        axis; photographs as 8-bit grey, one channel only.
    canonical, stored : Grid
        The same voxels, as predicted and as the input stores them.
    """
    if stored.ndim == 3:
        shares = values.astype(np.float32) / np.float32(255)
        return write_nifti(path, reorient_to(Volume(data=shares, affine=canonical.matrix), stored))
    return write_image_png(path, reorient_to(Volume(data=values, affine=canonical.matrix), stored))


def map_name(case: str, name: str, ndim: int) -> str:
    """Name a map's file: NIfTI for volumes, PNG for photographs.

    Examples
    --------
    >>> map_name("liver_017", "entropy", 3)
    'liver_017_entropy.nii.gz'
    """
    return f"{case}_{name}{'.nii.gz' if ndim == 3 else '.png'}"
