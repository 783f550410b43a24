"""Cross entropy of each image and class, weighted by how well it is segmented already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from medseg.losses.base import Activation
from medseg.losses.overlap import counted, region_sums
from medseg.losses.region_loss import RegionLoss
from medseg.losses.target import one_hot

IoU = Literal["soft", "hard"]

LEAST = 1e-4
"""An IoU counts as at least this, or the rescaling could divide by next to nothing."""


def balance(losses: Tensor, iou: Tensor, *, eta: float = 1.5) -> Tensor:
    """Return the losses times IoU^eta, rescaled to their former sum [1]_.

    The sum never changes, only the shares of the gradient: what is well localised is refined
    first. Weights are constants to the gradient; where every IoU is 0 they are 1.

    Parameters
    ----------
    losses, iou : float Tensor of the same shape
        One per image and class.
    eta : float
        0 is no balance at all.

    References
    ----------
    .. [1] Wu and Li, IoU-balanced loss functions for single-stage object detection, 2019, there
       for boxes; taking it over to the classes of a segmentation is our adaptation.

    Examples
    --------
    >>> [round(x, 4) for x in balance(torch.tensor([0.2, 0.6]), torch.tensor([0.8, 0.4])).tolist()]
    [0.3882, 0.4118]
    """
    raw = iou.detach().clamp(min=LEAST) ** eta
    fixed = losses.detach()
    weighted = (raw * fixed).sum()
    scale = fixed.sum() / torch.where(weighted > 0, weighted, torch.ones_like(weighted))
    weights = torch.where(weighted > 0, raw * scale, torch.ones_like(raw))
    return losses * weights


def iou_balanced_loss(
    losses: Tensor,
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    count: Tensor,
    eta: float = 1.5,
) -> Tensor:
    """Return the voxel losses' mean, `balance`d between images and channels.

    Parameters
    ----------
    losses : float Tensor of shape (B, C, *spatial)
        Losses of voxels; their sum over those that count, divided by ``count``, is the value.
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, or a hard prediction, whose IoU makes the weights.
    truth : bool Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where it counts.
    known : bool Tensor of shape (B, C)
        Images and channels that take part. If none does, the loss is 0.
    count : Tensor
        How many there are to average over, a scalar.
    eta : float
        See `balance`.
    """
    counts = counted(valid, known).expand_as(probs)
    sums = region_sums(probs.detach(), truth, valid, known)
    iou = sums.overlap / (sums.predicted + sums.fn).clamp(min=1e-7)
    totals = (losses * counts).flatten(2).sum(2)
    return balance(totals, iou, eta=eta).sum() / count.clamp(min=1)


class IoUBalancedLoss(RegionLoss):
    """Cross entropy whose gradient goes first to what overlaps well already; its value stays.

    Parameters
    ----------
    activation, regions
        See `Loss`. For ``sigmoid`` it is the binary cross entropy, averaged over the regions.
    eta : float
        See `balance`.
    iou : {"soft", "hard"}
        IoU of the probabilities, or of the predicted mask. A class whose hard IoU is 0 gets hardly
        any gradient of its own while others have some: ``hard`` is for networks already trained.
    class_weights : sequence of float, optional
        One per channel of the network; weights of the voxel losses.
    """

    term = "iou_balanced"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        eta: float = 1.5,
        iou: IoU = "soft",
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(activation, regions, include_background=True, class_weights=class_weights)
        self.eta = eta
        self.iou: IoU = iou

    def measure(
        self, scores: Tensor, kept: slice, truth: Tensor, valid: Tensor, known: Tensor
    ) -> Tensor:
        """Return `iou_balanced_loss`."""
        if self.activation == "softmax":
            losses = -scores.log_softmax(1) * truth
            hard = one_hot(scores.argmax(1), scores.shape[1])
            count = valid.sum()
        else:
            losses = functional.binary_cross_entropy_with_logits(
                scores, truth.to(scores.dtype), reduction="none"
            )
            hard, count = scores > 0, counted(valid, known).sum()
        weights = self.weights_of(kept)
        if weights is not None:
            losses = losses * weights.reshape(-1, *(1,) * (scores.ndim - 2))
        probs = self.probs(scores, kept) if self.iou == "soft" else hard.to(scores.dtype)
        return iou_balanced_loss(losses, probs, truth, valid, known, count=count, eta=self.eta)
