"""Overlap of two masks from voxel counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BothEmpty = Literal["nan", "perfect"]
"""What two empty masks give: NaN (nothing to measure; the default), or full agreement."""


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


def dice(counts: Counts, *, both_empty: BothEmpty = "nan") -> float:
    """Return the Dice overlap, 2 TP / (2 TP + FP + FN).

    Where both masks are empty see `BothEmpty`.
    """
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, counts, both_empty)


def iou(counts: Counts, *, both_empty: BothEmpty = "nan") -> float:
    """Return the intersection over the union, TP / (TP + FP + FN).

    Where both masks are empty see `BothEmpty`.
    """
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn, counts, both_empty)


def precision(counts: Counts, *, both_empty: BothEmpty = "nan") -> float:
    """Return the share of the prediction that is right, TP / (TP + FP).

    NaN where the prediction is empty; with ``both_empty="perfect"`` 0 for a missed object.
    """
    if both_empty == "perfect" and counts.fn and not counts.tp + counts.fp:
        return 0.0
    return _ratio(counts.tp, counts.tp + counts.fp, counts, both_empty)


def recall(counts: Counts, *, both_empty: BothEmpty = "nan") -> float:
    """Return the share of the reference that was found, TP / (TP + FN).

    NaN where the reference is empty, unless both are.
    """
    return _ratio(counts.tp, counts.tp + counts.fn, counts, both_empty)


def _ratio(part: int, whole: int, counts: Counts, both_empty: BothEmpty) -> float:
    """Divide; where there is nothing to divide by, 1 or NaN as the rule for empty masks says."""
    if whole:
        return part / whole
    empty = not (counts.tp or counts.fp or counts.fn)
    return 1.0 if empty and both_empty == "perfect" else float("nan")
