"""Annotations in MATLAB files: SBD, COCO-Stuff 10k and BSDS500."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import FormatError


def sbd_classes(path: Path) -> NDArray[np.int32]:
    """Read ``GTcls.Segmentation`` of SBD: VOC's values 0 to 20, without a void border."""
    return _classes(_load(path, "GTcls")["Segmentation"][0, 0], path)


def coco_stuff_classes(path: Path) -> NDArray[np.int32]:
    """Read ``S`` of COCO-Stuff 10k: 0 unlabelled, 1 to 182."""
    return _classes(_load(path, "S"), path)


def bsds_segments(path: Path) -> list[NDArray[np.int32]]:
    """Read the segments that each annotator of a BSDS500 image drew; ids from 1."""
    drawn = _load(path, "groundTruth").ravel()
    return [_classes(one["Segmentation"][0, 0], path) for one in drawn]


def bsds_boundaries(path: Path) -> NDArray[np.int32]:
    """Read the boundary map of a BSDS500 image as its annotators agree on it.

    Returns
    -------
    int32 ndarray of shape (rows, cols)
        1 where at least half of the annotators drew a boundary, 0 where none did, and -1 (to be
        ignored) between, as Xie and Tu (Holistically-nested edge detection, ICCV 2015) train.
    """
    drawn = _load(path, "groundTruth").ravel()
    boundaries = [_classes(one["Boundaries"][0, 0], path) > 0 for one in drawn]
    share = np.mean(boundaries, axis=0)
    return np.where(share >= 0.5, 1, np.where(share > 0, -1, 0)).astype(np.int32)


def _load(path: Path, name: str) -> Any:
    """Return one variable of a MATLAB file."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, variable_names=[name])
    except (OSError, ValueError, NotImplementedError, MatReadError) as error:
        raise FormatError(
            f"{path}: cannot be read as a MATLAB file ({error})",
            "copy the file from its source again",
        ) from error
    if name not in content:
        raise FormatError(
            f"{path}: holds no variable '{name}'",
            "choose the encoding of this data set in the manifest's options",
        )
    return content[name]


def _classes(values: Any, path: Path) -> NDArray[np.int32]:
    """Check that an annotation is one plane of numbers."""
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "iufb":
        raise FormatError(
            f"{path}: an annotation of shape {array.shape} and type {array.dtype}, one plane of "
            "numbers is expected",
            "copy the file from its source again",
        )
    return array.astype(np.int32)
