"""Lesion by lesion: how many were found, how well each was outlined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.metrics.components import CONNECTIVITY
from medseg.metrics.instances import (
    Connectivity,
    Overlaps,
    count_overlaps,
    find_lesions,
    match_by_iou,
)

Match = Literal["overlap", "iou"]


@dataclass(frozen=True, kw_only=True)
class LesionScores:
    """Lesions of one case; what was chosen (connectivity, match, ...) stands beside the counts."""

    lesions: int
    """In the reference, small ones left out."""
    predicted: int
    """Components of the prediction, small ones left out."""
    found: int
    """True lesions with a match: the true positives of the sensitivity."""
    confirmed: int
    """Predicted components with a match: the true positives of the precision. It differs from
    `found` where components merge or split lesions."""
    dices: tuple[float, ...]
    """Dice of each found lesion against the components that match it together."""
    biases: tuple[float, ...]
    """Size of those components minus the lesion's, for each found lesion, in `size_unit`."""
    match: Match
    iou_threshold: float | None
    """None where ``match`` is ``overlap``."""
    connectivity: int
    min_size: float
    size_unit: Literal["mm3", "px"]

    @property
    def missed(self) -> int:
        """False negatives: true lesions without a match."""
        return self.lesions - self.found

    @property
    def false_positives(self) -> int:
        """Predicted components without a match."""
        return self.predicted - self.confirmed

    @property
    def sensitivity(self) -> float:
        """Share of the true lesions that were found; NaN without a true lesion."""
        return _ratio(self.found, self.lesions)

    @property
    def precision(self) -> float:
        """Share of the predicted components that are lesions; NaN without a prediction."""
        return _ratio(self.confirmed, self.predicted)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN) with the found lesions as TP; NaN where there is nothing."""
        return _ratio(2 * self.found, 2 * self.found + self.false_positives + self.missed)

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the found lesions; NaN without one."""
        return float(np.mean(self.dices)) if self.dices else math.nan

    @property
    def mean_bias(self) -> float:
        """Mean size error over the found lesions, in `size_unit`; NaN without one."""
        return float(np.mean(self.biases)) if self.biases else math.nan


@dataclass(frozen=True, kw_only=True)
class LesionSummary:
    """Lesions pooled over cases."""

    cases: int
    lesions: int
    predicted: int
    found: int
    confirmed: int
    sensitivity: float
    precision: float
    f1: float
    fp_per_case: float
    """False positives per case, lesion-free cases included."""
    mean_dice: float
    """Over all found lesions, each weighs the same."""
    mean_bias: float


def lesion_scores(
    pred: NDArray[np.bool_],
    label: NDArray[np.bool_],
    spacing: Sequence[float] | None = None,
    *,
    match: Match = "overlap",
    iou_threshold: float = 0.5,
    connectivity: Connectivity | None = None,
    min_size: float = 0.0,
) -> LesionScores:
    """Compare the lesions of one case.

    Parameters
    ----------
    pred, label : bool ndarray of shape (*spatial)
        2-D or 3-D. Each connected component is a lesion.
    spacing : sequence of float, optional
        In mm, array axis order; None counts voxels.
    match : {"overlap", "iou"}
        ``overlap``: a true lesion is found if any predicted voxel hits it, and a predicted
        component is false if it hits no true lesion. ``iou``: one to one, the assignment with the
        largest total IoU among the pairs with IoU above the threshold.
    iou_threshold : float
        In [0, 1), for ``iou``; an IoU equal to it is no match.
    connectivity : int, optional
        26, 18 or 6 neighbours in 3-D, 8 or 4 in 2-D; None: 26 or 8.
    min_size : float
        In mm³ (mm² in 2-D; voxels without spacing): smaller components of both masks are left
        out before matching.

    Raises
    ------
    ValueError
        If the shapes differ or the connectivity does not suit them.
    """
    if pred.shape != label.shape:
        raise ValueError(f"pred has shape {pred.shape}, label {label.shape}; they must be equal")
    neighbours = CONNECTIVITY[label.ndim] if connectivity is None else connectivity
    voxel = 1.0 if spacing is None else math.prod(spacing)
    true, guess = (
        find_lesions(m, connectivity=neighbours, min_voxels=min_size / voxel) for m in (label, pred)
    )
    overlaps = count_overlaps(guess, true)
    if match == "overlap":
        pairs = overlaps.intersection > 0
    else:
        pairs = np.zeros(overlaps.intersection.shape, dtype=np.bool_)
        pairs[match_by_iou(overlaps.iou, iou_threshold)] = True
    dices, biases = _matched(overlaps, pairs)
    return LesionScores(
        lesions=len(overlaps.true_sizes),
        predicted=len(overlaps.pred_sizes),
        found=int(pairs.any(axis=1).sum()),
        confirmed=int(pairs.any(axis=0).sum()),
        dices=dices,
        biases=tuple(bias * voxel for bias in biases),
        match=match,
        iou_threshold=iou_threshold if match == "iou" else None,
        connectivity=neighbours,
        min_size=min_size,
        size_unit="px" if spacing is None else "mm3",
    )


def summarise_lesions(cases: Sequence[LesionScores]) -> LesionSummary:
    """Pool the lesions of several cases: counts are added first, divided last."""
    lesions, predicted = sum(c.lesions for c in cases), sum(c.predicted for c in cases)
    found, confirmed = sum(c.found for c in cases), sum(c.confirmed for c in cases)
    wrong = predicted - confirmed
    dices = [value for c in cases for value in c.dices]
    biases = [value for c in cases for value in c.biases]
    return LesionSummary(
        cases=len(cases),
        lesions=lesions,
        predicted=predicted,
        found=found,
        confirmed=confirmed,
        sensitivity=_ratio(found, lesions),
        precision=_ratio(confirmed, predicted),
        f1=_ratio(2 * found, 2 * found + wrong + lesions - found),
        fp_per_case=_ratio(wrong, len(cases)),
        mean_dice=float(np.mean(dices)) if dices else math.nan,
        mean_bias=float(np.mean(biases)) if biases else math.nan,
    )


def cc_dice(
    pred: NDArray[np.bool_],
    label: NDArray[np.bool_],
    spacing: Sequence[float] | None = None,
    *,
    connectivity: Connectivity | None = None,
) -> float:
    """Return CC-Dice: Dice within the Voronoi cell of each true lesion, averaged over lesions.

    Every lesion weighs the same, however small, and a false component lowers the Dice of the
    lesion it is nearest to.

    Parameters
    ----------
    pred, label : bool ndarray of shape (*spatial)
    spacing : sequence of float, optional
        In mm, for what is nearest; None is isotropic.
    connectivity : int, optional
        As for `lesion_scores`.

    Returns
    -------
    float
        0 where the prediction is empty; NaN without a true lesion, since there is no cell.

    References
    ----------
    .. [1] Jaus et al., Every Component Counts: rethinking the measure of success for medical
       semantic segmentation in multi-instance segmentation tasks, 2024 (CC-Metrics).
    """
    if pred.shape != label.shape:
        raise ValueError(f"pred has shape {pred.shape}, label {label.shape}; they must be equal")
    if not label.any():
        return math.nan
    box = ndimage.find_objects((pred | label).view(np.uint8))[0]
    pred, label = pred[box], label[box]
    true = find_lesions(label, connectivity=connectivity)
    nearest = ndimage.distance_transform_edt(
        true == 0, sampling=spacing, return_distances=False, return_indices=True
    )
    cells = true[tuple(nearest[(slice(None), pred)])]  # the cell of each predicted voxel
    count = int(true.max())
    guessed = np.bincount(cells, minlength=count + 1)[1:]
    shared = np.bincount(true[pred & label], minlength=count + 1)[1:]
    sizes = np.bincount(true[label], minlength=count + 1)[1:]
    return float(np.mean(2 * shared / (guessed + sizes)))


def _matched(
    overlaps: Overlaps, pairs: NDArray[np.bool_]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return Dice and size error (voxels) of each found lesion."""
    dices, biases = [], []
    for row in np.flatnonzero(pairs.any(axis=1)):
        shared = int(overlaps.intersection[row, pairs[row]].sum())
        size, guessed = int(overlaps.true_sizes[row]), int(overlaps.pred_sizes[pairs[row]].sum())
        dices.append(2 * shared / (size + guessed))
        biases.append(float(guessed - size))
    return tuple(dices), tuple(biases)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
