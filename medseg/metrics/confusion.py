"""The confusion matrix of a whole label map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medseg.labels import IGNORE_INDEX


def confusion_matrix(
    pred: NDArray[np.int16], label: NDArray[np.int16], num_classes: int
) -> NDArray[np.int64]:
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
        If a class index lies outside ``[0, num_classes)``.
    """
    valid = label != IGNORE_INDEX
    truth, guess = label[valid].astype(np.int64), pred[valid].astype(np.int64)
    for name, values in (("label", truth), ("pred", guess)):
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise ValueError(
                f"{name} holds {values.min()}..{values.max()}, outside [0, {num_classes})"
            )
    counts = np.bincount(num_classes * truth + guess, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)
