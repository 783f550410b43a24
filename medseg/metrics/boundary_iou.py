"""Boundary IoU: overlap of the inner boundary bands of two masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.metrics.box import Box, content_box, merge_boxes
from medseg.metrics.surface import SLACK

Mask = NDArray[np.bool_]

SHARE = 0.02
"""Width of the band as a share of the image diagonal."""


def boundary_iou(pred: Mask, label: Mask, width: int | None = None) -> float:
    """Return the IoU of the masks' boundary bands, their width in pixels.

    The band is the mask minus its erosion by a full 3 x 3 (x 3) element repeated ``width`` times;
    outside the array is background.

    Parameters
    ----------
    pred, label : bool ndarray of shape (*spatial)
        Predicted and reference mask; whole images, for the default width depends on their size.
    width : int, optional
        In pixels; None means 2 % of the image diagonal, at least 1.

    Returns
    -------
    float
        In [0, 1]; NaN where both masks are empty, 0 where one is.

    Raises
    ------
    ValueError
        If the shapes differ or the width is below 1.

    References
    ----------
    .. [1] Cheng et al., Boundary IoU: improving object-centric image segmentation evaluation,
       CVPR 2021.
    """
    steps = default_width(label.shape) if width is None else width
    if steps < 1:
        raise ValueError(f"width is {steps}; it must be at least 1 pixel")
    pred, label = _cut(pred, label)
    size = 2 * steps + 1
    bands = [
        mask & ~ndimage.minimum_filter(mask, size=size, mode="constant", cval=0)
        for mask in (pred, label)
    ]
    return _iou(bands[0], bands[1])


def boundary_iou_mm(pred: Mask, label: Mask, spacing: Sequence[float], width_mm: float) -> float:
    """Return the IoU of the masks' boundary bands, their width in mm: our variant for volumes.

    The band holds the voxels of the mask whose centre lies within ``width_mm`` of the centre of a
    background voxel; outside the array is background.

    Parameters
    ----------
    pred, label : bool ndarray of shape (*spatial)
        Predicted and reference mask, 2-D or 3-D.
    spacing : sequence of float
        In mm along each axis.
    width_mm : float
        In mm; below the smallest spacing the band is empty and the result NaN.

    Returns
    -------
    float
        In [0, 1]; NaN where both masks are empty, 0 where one is.

    Raises
    ------
    ValueError
        If the shapes differ or the width is not positive.
    """
    if not width_mm > 0:
        raise ValueError(f"width_mm is {width_mm}; it must be positive")
    pred, label = _cut(pred, label)
    limit = (width_mm * (1 + SLACK)) ** 2
    bands = [mask & (_depth_squared(mask, spacing) <= limit) for mask in (pred, label)]
    return _iou(bands[0], bands[1])


def default_width(shape: Sequence[int]) -> int:
    """Return 2 % of the diagonal of an image in pixels, at least 1."""
    return max(1, round(SHARE * math.hypot(*shape)))


def _cut(pred: Mask, label: Mask) -> tuple[Mask, Mask]:
    """Cut both masks to the box around both."""
    if pred.shape != label.shape:
        raise ValueError(f"pred has shape {pred.shape}, label {label.shape}; they must be equal")
    box: Box | None = merge_boxes([content_box(mask) for mask in (pred, label)])
    return (pred, label) if box is None else (pred[box], label[box])


def _depth_squared(mask: Mask, spacing: Sequence[float]) -> NDArray[np.float32]:
    """Return the squared distance of each voxel to the nearest background voxel."""
    padded = np.ascontiguousarray(np.pad(mask, 1))
    squared: NDArray[np.float32] = edt.edtsq(padded, anisotropy=tuple(spacing))
    return squared[(slice(1, -1),) * mask.ndim]


def _iou(pred: Mask, label: Mask) -> float:
    """Return the IoU of two bands; NaN where both are empty."""
    union = int(np.count_nonzero(pred | label))
    return int(np.count_nonzero(pred & label)) / union if union else float("nan")
