"""Where one class borders on another, as a loss beside that of the voxels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from medseg.labels import IGNORE_INDEX

EDGE_WEIGHT = 1.0


def edge_loss(scores: Tensor, label: Tensor) -> Tensor:
    """Return the balanced binary cross entropy of "is this voxel on a border?" [1]_.

    Borders weigh by the share of the other voxels, and those by the share of borders.

    Parameters
    ----------
    scores : float Tensor of shape (B, 1, *spatial)
        Raw scores.
    label : integer Tensor of shape (B, *spatial)

    Returns
    -------
    scalar Tensor
        Mean over the voxels that are not ignored; 0 if all are.

    References
    ----------
    .. [1] Takikawa et al., Gated-SCNN: gated shape CNNs for semantic segmentation, ICCV 2019,
       section 3.2.
    """
    valid, edge = label != IGNORE_INDEX, borders(label)
    total = valid.sum().clamp(min=1)
    share = edge.sum() / total
    weight = torch.where(edge, 1 - share, share) * valid
    each = functional.binary_cross_entropy_with_logits(
        scores[:, 0].float(), edge.float(), reduction="none"
    )
    return (weight * each).sum() / total


def borders(label: Tensor) -> Tensor:
    """Return where (B, *spatial) a neighbour along an axis is of another class; none ignored.

    Examples
    --------
    >>> borders(torch.tensor([[0, 0, 1, 1]])).int().tolist()
    [[0, 1, 1, 0]]
    """
    found = torch.zeros_like(label, dtype=torch.bool)
    for axis in range(1, label.ndim):
        size = label.shape[axis] - 1
        before, after = label.narrow(axis, 0, size), label.narrow(axis, 1, size)
        differs = (before != after) & (before != IGNORE_INDEX) & (after != IGNORE_INDEX)
        found.narrow(axis, 0, size).logical_or_(differs)
        found.narrow(axis, 1, size).logical_or_(differs)
    return found
