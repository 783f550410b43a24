"""Hashes that tell whether voxels changed."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.volume import Affine


def voxel_digest(array: NDArray[Any], affine: Affine | None = None) -> str:
    """Hash values, type, shape and place of an array, independent of its memory layout.

    Parameters
    ----------
    array : ndarray
    affine : ndarray, optional
        Voxel index to world; left out for arrays that share an image's place, such as labels.

    Returns
    -------
    str
        32 hexadecimal digits (BLAKE2b, 128 bit). Equal images have equal digests, so it also finds
        one scan under two names.
    """
    little = array.dtype.newbyteorder("<")
    digest = hashlib.blake2b(f"{little.str}{array.shape}".encode(), digest_size=16)
    for part in array:  # one channel or plane at a time: a view need not be copied as a whole
        digest.update(np.ascontiguousarray(part, dtype=little).data)
    if affine is not None:
        digest.update(np.ascontiguousarray(affine, dtype="<f8").data)
    return digest.hexdigest()
