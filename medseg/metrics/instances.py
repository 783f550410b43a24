"""Objects of a mask: number them, count where two sets meet, pair them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from medseg.metrics.components import CONNECTIVITY

Connectivity = Literal[4, 6, 8, 18, 26]
Instances = NDArray[np.integer[Any]]
"""Numbers of the objects, 0 is background."""
SIZE_SLACK = 1e-9
"""Relative: a component of exactly the smallest size is kept."""


@dataclass(frozen=True)
class Overlaps:
    """Objects of two instance maps and where they meet; rows are true objects."""

    intersection: NDArray[np.int64]
    """(true objects, predicted objects), voxels."""
    true_sizes: NDArray[np.int64]
    pred_sizes: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """IoU of every pair."""
        union = self.true_sizes[:, None] + self.pred_sizes[None, :] - self.intersection
        found: NDArray[np.float64] = self.intersection / np.maximum(union, 1)
        return found


def find_lesions(
    mask: NDArray[np.bool_], *, connectivity: Connectivity | None = None, min_voxels: float = 0.0
) -> Instances:
    """Number the connected components of a mask.

    Parameters
    ----------
    mask : bool ndarray of shape (*spatial)
        2-D or 3-D.
    connectivity : int, optional
        None: 26 in 3-D, 8 in 2-D.
    min_voxels : float
        Smaller components become background.

    Returns
    -------
    integer ndarray of shape (*spatial)
        1, 2, ... without gaps; 0 is background.
    """
    neighbours = CONNECTIVITY[mask.ndim] if connectivity is None else connectivity
    allowed = {2: (4, 8), 3: (6, 18, 26)}[mask.ndim]
    if neighbours not in allowed:
        raise ValueError(f"connectivity {neighbours} in {mask.ndim}-D; use one of {allowed}")
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.uint16)
    # as bytes: of bool, cc3d 4.1.1 mislabels planes with an odd number of columns
    found: Instances = cc3d.connected_components(
        np.ascontiguousarray(mask).view(np.uint8), connectivity=neighbours
    )
    sizes = np.bincount(found.ravel())
    keep = sizes >= min_voxels * (1 - SIZE_SLACK)
    keep[0] = False
    if keep[1:].all():
        return found
    table = np.where(keep, np.cumsum(keep), 0).astype(found.dtype)
    numbered: Instances = table[found]
    return numbered


def count_overlaps(pred: Instances, label: Instances) -> Overlaps:
    """Count the voxels that each pair of objects shares.

    Parameters
    ----------
    pred, label : integer ndarray of shape (*spatial)
        Object numbers, 0 is background; numbers may have gaps.
    """
    either = (pred > 0) | (label > 0)
    true_ids, true = np.unique(np.append(0, label[either]), return_inverse=True)
    pred_ids, guess = np.unique(np.append(0, pred[either]), return_inverse=True)
    rows, cols = len(true_ids), len(pred_ids)
    counts = np.bincount(true[1:].astype(np.int64) * cols + guess[1:], minlength=rows * cols)
    counts = counts.reshape(rows, cols).astype(np.int64)
    return Overlaps(counts[1:, 1:], counts[1:].sum(axis=1), counts[:, 1:].sum(axis=0))


def match_by_iou(
    iou: NDArray[np.float64], threshold: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pair objects one to one, with the largest total IoU among pairs above the threshold.

    Parameters
    ----------
    iou : float64 ndarray of shape (true objects, predicted objects)
    threshold : float
        In [0, 1). From .5 on no object has two partners for disjoint objects, so there is nothing
        to choose; below, the Hungarian method chooses.

    Returns
    -------
    tuple of int ndarray
        Rows and columns of the pairs.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"the IoU threshold is {threshold}; it should be in [0, 1)")
    allowed = iou > threshold
    if threshold >= 0.5:
        rows, cols = np.nonzero(allowed)
    else:
        rows, cols = linear_sum_assignment(np.where(allowed, iou, 0.0), maximize=True)
        real = allowed[rows, cols]
        rows, cols = rows[real], cols[real]
    return rows, cols
