"""Segmentation and edges that agree: the regulariser between both tasks of Gated-SCNN."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from medseg.losses.base import Loss

DUAL_WEIGHT = 1.0
CERTAIN = 0.8  # probability of an edge from which on the classes beside it count
SMALLEST = 1e-3  # of a border's length
_AVERAGE_POOL = {4: functional.avg_pool2d, 5: functional.avg_pool3d}  # by tensor axes


def dual_task_loss(
    loss: Loss,
    logits: Tensor,
    scores: Tensor,
    label: Tensor,
    *,
    annotated: Tensor | None = None,
) -> Tensor:
    """Return how far the borders of the segmentation are from those of the truth [1]_.

    The sum of two means (equations 6 and 7): ``|z(p) - z(y)|`` over the voxels where either is a
    border, with ``z`` the smoothed gradient's length and ``p`` a class drawn by the Gumbel trick;
    and the cross entropy of the classes where the scores see an edge.

    Parameters
    ----------
    loss : Loss
        Says what the channels mean (class indices, or regions) and what is ignored.
    logits : float Tensor of shape (B, C, *spatial)
    scores : float Tensor of shape (B, 1, *spatial)
        Raw scores of edges.
    label : integer Tensor of shape (B, *spatial)
    annotated : bool Tensor of shape (B, K + 1), optional

    Returns
    -------
    scalar Tensor
        0 where there is no border and no edge.

    References
    ----------
    .. [1] Takikawa et al., Gated-SCNN: gated shape CNNs for semantic segmentation, ICCV 2019,
       section 3.3.
    """
    raw, truth, valid, _ = loss.prepare(logits, label, annotated)
    if loss.activation == "softmax":
        drawn = functional.gumbel_softmax(raw, dim=1)
        each = functional.cross_entropy(raw, truth.to(raw.dtype), reduction="none")[:, None]
    else:
        drawn = (raw + torch.empty_like(raw).uniform_(1e-6, 1 - 1e-6).logit()).sigmoid()
        each = functional.binary_cross_entropy_with_logits(
            raw, truth.to(raw.dtype), reduction="none"
        )
    made, true = border_length(drawn), border_length(truth.to(raw.dtype))
    either = ((made > SMALLEST) | (true > SMALLEST)) & valid
    edge = (scores > math.log(CERTAIN / (1 - CERTAIN))) & valid
    return _mean((made - true).abs(), either) + _mean(each, edge)


def border_length(share: Tensor) -> Tensor:
    """Return the length of the gradient of each channel, smoothed over 3 voxels, by sqrt(2).

    Parameters
    ----------
    share : float Tensor of shape (B, C, *spatial)
        In [0, 1].

    Returns
    -------
    float Tensor of the same shape
    """
    x = _AVERAGE_POOL[share.ndim](share, 3, 1, 1, count_include_pad=False)
    squares = torch.zeros_like(x)
    for axis in range(2, x.ndim):
        rest = x.shape[axis] - 1
        before = torch.cat((x.narrow(axis, 0, 1), x.narrow(axis, 0, rest)), axis)
        after = torch.cat((x.narrow(axis, 1, rest), x.narrow(axis, rest, 1)), axis)
        squares = squares + ((after - before) / 2).square()
    return (squares / 2 + 1e-12).sqrt()  # the root has no slope at 0


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean of some values; 0 of none."""
    mask = where.expand_as(values)
    return (values * mask).sum() / mask.sum().clamp(min=1)
