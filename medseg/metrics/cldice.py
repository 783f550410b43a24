"""Centreline Dice: overlap of the skeletons of two tubular masks with the masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.metrics.box import content_box

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class CenterlineDice:
    """Topology precision, topology sensitivity and their harmonic mean.

    All are NaN where both skeletons are empty and 0 where one is.
    """

    precision: float
    """Share of the prediction's skeleton that lies in the reference."""
    sensitivity: float
    """Share of the reference's skeleton that lies in the prediction."""
    cldice: float


def cldice(pred: Mask, label: Mask) -> CenterlineDice:
    """Measure how well the centrelines of two masks agree.

    Parameters
    ----------
    pred, label : bool ndarray of shape (*spatial)
        Predicted and reference mask, 2-D or 3-D.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    .. [1] Shit et al., clDice: a novel topology-preserving loss function for tubular structure
       segmentation, CVPR 2021, equations 1 and 2.
    """
    if pred.shape != label.shape:
        raise ValueError(f"pred has shape {pred.shape}, label {label.shape}; they must be equal")
    pred_line, label_line = skeleton(pred), skeleton(label)
    pred_length, label_length = np.count_nonzero(pred_line), np.count_nonzero(label_line)
    if not (pred_length and label_length):
        value = 0.0 if pred_length or label_length else float("nan")
        return CenterlineDice(precision=value, sensitivity=value, cldice=value)
    precision = float(np.count_nonzero(pred_line & label) / pred_length)
    sensitivity = float(np.count_nonzero(label_line & pred) / label_length)
    total = precision + sensitivity
    return CenterlineDice(
        precision=precision,
        sensitivity=sensitivity,
        cldice=2 * precision * sensitivity / total if total else 0.0,
    )


def skeleton(mask: Mask) -> Mask:
    """Return the skeleton of a mask: Zhang's in 2-D, Lee's in 3-D.

    Parameters
    ----------
    mask : bool ndarray of shape (*spatial)
        2-D or 3-D.
    """
    from skimage.morphology import skeletonize

    line = np.zeros(mask.shape, dtype=np.bool_)
    box = content_box(mask)
    if box is not None:
        padded = np.pad(mask[box], 1)
        thin: Callable[[Mask], Mask] = skeletonize
        line[box] = thin(padded)[(slice(1, -1),) * mask.ndim]
    return line
