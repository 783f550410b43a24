"""Operations on one mask; voxels of a structure touch over faces, edges and corners.

Connectivity: the structure is 26-connected (8 in 2-D), so what lies between its components, the
background that may form a hole, is 6-connected (4 in 2-D). Any mask without a voxel comes back
as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import cc3d
import fill_voids
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Box = tuple[slice, ...]

CONNECTIVITY: Mapping[int, Literal[8, 26]] = {2: 8, 3: 26}


def foreground_box(mask: Mask) -> Box | None:
    """Return the bounding box of a mask, or None where it is empty."""
    box = []
    for axis in range(mask.ndim):
        hits = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(hits):
            return None
        box.append(slice(int(hits[0]), int(hits[-1]) + 1))
    return tuple(box)


def label_components(mask: Mask) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Number the connected components of a mask.

    Parameters
    ----------
    mask : bool ndarray, 2-D or 3-D

    Returns
    -------
    uint32 ndarray of the mask's shape, int64 ndarray of shape (n + 1,)
        Component of each voxel (1..n, 0 outside), and the voxels of each (0 for entry 0).
    """
    # as bytes: of bool, cc3d 4.1.1 mislabels planes with an odd number of columns
    labels: NDArray[Any] = cc3d.connected_components(
        np.ascontiguousarray(mask).view(np.uint8),
        connectivity=CONNECTIVITY[mask.ndim],
        out_dtype=np.uint32,
    )
    sizes = np.bincount(labels.ravel()).astype(np.int64)
    sizes[0] = 0
    return labels, sizes


def selected_components(sizes: NDArray[np.int64], *, keep_largest: bool, min_voxels: float) -> Mask:
    """Tell which components stay: those of enough voxels, of which perhaps the largest only.

    Of several largest ones the first in array order stays.

    Parameters
    ----------
    sizes : int64 ndarray of shape (n + 1,)
        Voxels of each component; entry 0, the outside, never stays.
    keep_largest : bool
    min_voxels : float
        A component with fewer voxels goes.

    Returns
    -------
    bool ndarray of shape (n + 1,)
    """
    stays = (sizes >= min_voxels) & (sizes > 0)
    if keep_largest:
        stays &= np.arange(len(sizes)) == int(sizes.argmax())
    return stays


def keep_components(mask: Mask, *, keep_largest: bool = False, min_voxels: float = 0.0) -> Mask:
    """Remove small components, or all but the largest.

    Parameters
    ----------
    mask : bool ndarray, 2-D or 3-D
    keep_largest : bool
    min_voxels : float
        A component with fewer voxels goes, be it the largest.

    Returns
    -------
    bool ndarray of the mask's shape

    Examples
    --------
    >>> keep_components(np.array([[1, 1, 0, 1]], bool), keep_largest=True).astype(int)
    array([[1, 1, 0, 0]])
    """
    box = foreground_box(mask)
    if box is None:
        return mask.copy()
    labels, sizes = label_components(mask[box])
    stays = selected_components(sizes, keep_largest=keep_largest, min_voxels=min_voxels)
    kept = np.zeros_like(mask)
    kept[box] = stays[labels]
    return kept


def fill_holes(mask: Mask) -> Mask:
    """Fill what the mask encloses: background that no path over faces joins to the border.

    Parameters
    ----------
    mask : bool ndarray, 2-D or 3-D

    Returns
    -------
    bool ndarray of the mask's shape
    """
    box = foreground_box(mask)
    if box is None:
        return mask.copy()
    filled = mask.copy()
    # The margin keeps fill_voids (2.1.2) from taking background at a face's edge for a hole.
    inner = (slice(1, -1),) * mask.ndim
    filled[box] = fill_voids.fill(np.pad(mask[box], 1))[inner]
    return filled
