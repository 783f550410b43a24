"""Focal loss: cross entropy that forgets the voxels it is sure of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.labels import IGNORE_INDEX
from medseg.losses.base import Activation, Loss
from medseg.losses.cross_entropy import (
    Reduction,
    class_tensor,
    cross_entropy,
    fitted,
    known_classes,
    ratio,
)

SMALLEST = 1e-7
"""1 - p is held above this, as powers below 1 have no finite slope at 0."""


def focal_loss(
    logits: Tensor,
    label: Tensor,
    *,
    gamma: float = 2.0,
    alpha: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean of -a (1 - p)^gamma log p, p the softmax of the true class [1]_.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
    label : integer Tensor of shape (B, *spatial)
        Class indices, or `IGNORE_INDEX`. Without any voxel that counts the loss is 0.
    gamma : float
        0 or more; 0 is cross entropy.
    alpha : float Tensor of shape (C,) or (), optional
        a of each true class; it does not enter the norm. None: 1.
    reduction : {"mean", "none"}
        ``mean`` is over the voxels that count (the paper divides by the number of positive
        anchors). ``none``: (B, *spatial), 0 where a voxel does not count.

    References
    ----------
    .. [1] Lin et al., Focal loss for dense object detection, ICCV 2017, eq. 4 and 5.

    Examples
    --------
    >>> focal_loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, -1]])).item()  # log(2) / 4
    0.1732867956161499
    """
    valid = label != IGNORE_INDEX
    minus_log = cross_entropy(logits, label, reduction="none")
    each = (-torch.expm1(-minus_log)).clamp(min=SMALLEST).pow(gamma) * minus_log
    if alpha is not None:
        each = each * alpha.expand(logits.shape[1])[label.long() * valid]
    return each if reduction == "none" else ratio(each.sum(), valid.sum())


def sigmoid_focal_loss(
    logits: Tensor,
    truth: Tensor,
    valid: Tensor,
    *,
    gamma: float = 2.0,
    alpha: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the focal loss of each channel against the rest, averaged over what counts [1]_.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
    truth, valid : bool Tensor of shape (B, C, *spatial)
        The target, and where it counts; the channel axis of ``valid`` may be 1. Where nothing
        counts the loss is 0.
    gamma : float
        0 or more; 0 is binary cross entropy.
    alpha : float Tensor of shape (C,) or (), optional
        Weight of positive voxels, in [0, 1]; negative ones weigh 1 - alpha. None: both 1.
    reduction : {"mean", "none"}
        ``none``: (B, C, *spatial), 0 where a voxel does not count.

    References
    ----------
    .. [1] Lin et al., Focal loss for dense object detection, ICCV 2017, eq. 5 (there alpha 0.25).
    """
    towards = torch.where(truth, logits, -logits)
    each = -functional.logsigmoid(towards) * (-towards).sigmoid().clamp(min=SMALLEST).pow(gamma)
    counts = valid.expand_as(each)
    if alpha is not None:
        positive = alpha.reshape(-1, *(1,) * (logits.ndim - 2))
        each = each * torch.where(truth, positive, 1 - positive)
    each = each * counts
    return each if reduction == "none" else ratio(each.sum(), counts.sum())


class FocalLoss(Loss):
    """Cross entropy that counts easy voxels less, so that the hard ones decide.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    gamma : float
        How fast sure voxels lose weight.
    alpha : float or sequence of float, optional
        One value, or one per channel. Softmax kind: weight of each true class. Sigmoid kind: weight
        of positive voxels in [0, 1], negative ones having 1 - alpha.
    kind : {"softmax", "sigmoid"}, optional
        None: as ``activation``. ``sigmoid`` with exclusive classes compares each with the rest,
        which is what MONAI's and smp's focal losses do unless told otherwise.
    """

    alpha: Tensor | None

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        gamma: float = 2.0,
        alpha: Sequence[float] | float | None = None,
        kind: Literal["softmax", "sigmoid"] | None = None,
    ) -> None:
        super().__init__(activation, regions)
        self.kind = activation if kind is None else kind
        if (activation, self.kind) == ("sigmoid", "softmax"):
            raise ConfigError("'kind' is 'softmax', but regions overlap; use kind: sigmoid")
        if gamma < 0:
            raise ConfigError(f"'gamma' is {gamma}; it is 0 or more")
        weights = class_tensor(alpha, "alpha")
        if self.kind == "sigmoid" and weights is not None and bool((weights > 1).any()):
            raise ConfigError(f"'alpha' is {alpha}; with the sigmoid kind it lies in [0, 1]")
        self.gamma = gamma
        self.register_buffer("alpha", weights, persistent=False)

    def terms(
        self, logits: Tensor, label: Tensor, *, annotated: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``{"focal": scalar}``."""
        with torch.autocast(logits.device.type, enabled=False):
            scores, truth, valid, _ = self.prepare(logits, label, annotated)
            alpha = fitted(self.alpha, scores, "alpha")
            if self.kind == "softmax":
                return {"focal": focal_loss(scores, label, gamma=self.gamma, alpha=alpha)}
            known = known_classes(annotated)
            if self.activation == "softmax" and known is not None:
                valid = valid & known.reshape(*known.shape, *(1,) * (scores.ndim - 2))
            value = sigmoid_focal_loss(scores, truth, valid, gamma=self.gamma, alpha=alpha)
            return {"focal": value}
