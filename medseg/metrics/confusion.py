"""The confusion matrix of label maps, and every score that is derived from it.

Rows are the truth, columns the prediction. Matrices are counted in int64 and add up: over a data
set the matrices of all images are summed first and divided last (the mean of per-image scores is
another number, `miou_image`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.labels import IGNORE_INDEX

Matrix = NDArray[np.int64]
PerClass = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ConfusionScores:
    """Scores of a matrix; a class in neither truth nor prediction is NaN and in no mean."""

    pixel_accuracy: float
    mpa_recall: float
    """Mean over the classes of recall: the FCN paper's "mean accuracy"."""
    mpa_precision: float
    """Mean over the classes of precision, which other texts call mean pixel accuracy."""
    miou: float
    fwiou: float
    """IoU weighted by each class's share of the truth."""
    mean_dice: float
    recall: PerClass
    """TP / (TP + FN); NaN where the class is not in the truth."""
    precision: PerClass
    """TP / (TP + FP); NaN where the class is never predicted."""
    specificity: PerClass
    """TN / (TN + FP); NaN where the truth is all of this class."""
    iou: PerClass
    """TP / (TP + FP + FN); 0 where the class is only predicted."""
    dice: PerClass
    """2 TP / (2 TP + FP + FN)."""


def confusion_matrix(pred: NDArray[np.int16], label: NDArray[np.int16], num_classes: int) -> Matrix:
    """Count the voxels of every pair of classes; matrices of several cases add up.

    Parameters
    ----------
    pred, label : int16 ndarray of shape (*spatial)
        Class indices, background 0 included; voxels whose label is ``IGNORE_INDEX`` do not count.
    num_classes : int
        Classes, background included.

    Returns
    -------
    int64 ndarray of shape (num_classes, num_classes)
        Rows are the truth, columns the prediction.

    Raises
    ------
    ValueError
        If the shapes differ, or a class index lies outside ``[0, num_classes)``.
    """
    if pred.shape != label.shape:
        raise ValueError(f"pred has shape {pred.shape}, label {label.shape}; they must be equal")
    valid = label != IGNORE_INDEX
    truth, guess = label[valid].astype(np.int64), pred[valid].astype(np.int64)
    for name, values in (("label", truth), ("pred", guess)):
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise ValueError(
                f"{name} holds {values.min()}..{values.max()}, outside [0, {num_classes})"
            )
    counts = np.bincount(num_classes * truth + guess, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def confusion_scores(matrix: Matrix) -> ConfusionScores:
    """Derive every score from a confusion matrix.

    Parameters
    ----------
    matrix : int64 ndarray of shape (K, K)
        Counts of one image or summed over a data set; rows are the truth.

    Returns
    -------
    ConfusionScores
        A matrix without any count gives NaN throughout.

    References
    ----------
    .. [1] Long et al., Fully convolutional networks for semantic segmentation, CVPR 2015,
       section 5 (accuracy, mean accuracy, mean IoU, frequency weighted IoU).
    """
    hit, rows, cols = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    total = int(matrix.sum())
    correct_rest = total - rows - cols + hit  # true negatives
    iou = _ratios(hit, rows + cols - hit)
    recall, precision = _ratios(hit, rows), _ratios(hit, cols)
    specificity = _ratios(correct_rest, total - rows)
    specificity[rows + cols == 0] = np.nan
    dice = _ratios(2 * hit, rows + cols)
    nan = float("nan")
    return ConfusionScores(
        pixel_accuracy=int(hit.sum()) / total if total else nan,
        mpa_recall=mean_present(recall),
        mpa_precision=mean_present(precision),
        miou=mean_present(iou),
        fwiou=float((rows[rows > 0] * iou[rows > 0]).sum() / total) if total else nan,
        mean_dice=mean_present(dice),
        recall=recall,
        precision=precision,
        specificity=specificity,
        iou=iou,
        dice=dice,
    )


def miou_image(matrices: Iterable[Matrix]) -> float:
    """Return the mean over images of each image's mIoU; not the mIoU of the data set."""
    return mean_present(np.array([confusion_scores(m).miou for m in matrices], dtype=np.float64))


def mean_present(values: PerClass) -> float:
    """Average what is not NaN; NaN, never 0, where nothing is left."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def sum_over_ranks(matrix: Matrix, device: str = "cpu") -> Matrix:
    """Add the matrices of all processes of a distributed run; alone, the matrix itself.

    Parameters
    ----------
    matrix : int64 ndarray of shape (K, K)
        This process's counts.
    device : str
        Where the process group communicates: ``cpu`` for gloo, ``cuda:N`` for NCCL.
    """
    import torch
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return matrix
    counts = torch.from_numpy(matrix.copy()).to(device)
    distributed.all_reduce(counts)
    summed: Matrix = counts.cpu().numpy()
    return summed


def _ratios(part: Matrix, whole: Matrix) -> PerClass:
    """Divide class by class; NaN where there is nothing to divide by."""
    found = np.full(part.shape, np.nan)
    np.divide(part, whole, out=found, where=whole != 0)
    return found
