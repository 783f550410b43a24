"""Overlap of two masks from voxel counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Voxels on which two masks agree and differ."""

    tp: int
    """In both masks."""
    fp: int
    """In the prediction only."""
    fn: int
    """In the reference only."""


def overlap_counts(pred: NDArray[np.bool_], label: NDArray[np.bool_]) -> Counts:
    """Count the voxels of two masks of the same shape.

    Parameters
    ----------
    pred, label : bool ndarray of shape (*spatial)
        Predicted and reference mask.
    """
    tp = int(np.count_nonzero(pred & label))
    return Counts(tp=tp, fp=int(np.count_nonzero(pred)) - tp, fn=int(np.count_nonzero(label)) - tp)


def dice(counts: Counts) -> float:
    """Return 2 TP / (2 TP + FP + FN); NaN where both masks are empty."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def iou(counts: Counts) -> float:
    """Return TP / (TP + FP + FN); NaN where both masks are empty."""
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn)


def precision(counts: Counts) -> float:
    """Return TP / (TP + FP); NaN where the prediction is empty."""
    return _ratio(counts.tp, counts.tp + counts.fp)


def recall(counts: Counts) -> float:
    """Return TP / (TP + FN); NaN where the reference is empty."""
    return _ratio(counts.tp, counts.tp + counts.fn)


def _ratio(part: int, whole: int) -> float:
    """Divide; NaN where there is nothing to divide by."""
    return part / whole if whole else float("nan")
