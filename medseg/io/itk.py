"""Files that ITK reads (NRRD, MHA, MHD) -> Volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from medseg.errors import FormatError
from medseg.geometry.volume import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_itk(path: Path) -> Volume:
    """Read an NRRD, MHA or MHD file in stored axis order.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Volume
        The components of a vector voxel and the entries of a fourth axis become channels; a 2-D
        image becomes a volume of one slice. ITK's LPS world is turned to RAS+ here.

    Raises
    ------
    FormatError
        If ITK cannot read the file.
    """
    try:
        image: Any = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise FormatError(
            f"{path}: cannot be read ({str(error).strip().splitlines()[-1]})",
            "the file is cut short or damaged: copy it from its source again",
        ) from error
    data = SimpleITK.GetArrayFromImage(image)  # axes reversed, vector components last
    ndim = image.GetDimension()
    components = data.ndim > ndim
    data = data.transpose(*((ndim,) if components else ()), *range(ndim - 1, -1, -1))
    data = data if components else data[np.newaxis]
    if ndim == 2:
        data = data[..., np.newaxis]
    elif ndim == 4:
        data = np.moveaxis(data, -1, 0).reshape(-1, *data.shape[1:4])
    if data.dtype.kind == "f":
        data = data.astype(np.float32, copy=False)
    ndim = min(ndim, 3)
    direction = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)
    affine = np.eye(4)
    affine[:ndim, :ndim] = (direction * np.array(image.GetSpacing()))[:ndim, :ndim]
    affine[:ndim, 3] = image.GetOrigin()[:ndim]
    return Volume(data=data, affine=LPS_TO_RAS @ affine + 0.0)
