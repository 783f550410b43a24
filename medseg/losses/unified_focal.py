"""Asymmetric unified focal loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from medseg.losses.base import Activation
from medseg.losses.overlap import class_mean, counted, region_sums, safe_power
from medseg.losses.region_loss import RegionLoss


def unified_focal_loss(
    log_p: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    weight: float = 0.5,
    delta: float = 0.7,
    gamma: float = 0.5,
    batch: bool = False,
    smooth: float = 1e-7,
) -> Tensor:
    """Return w focal + (1 - w) focal Tversky, both focal on one side only [1]_.

    Channel 0 is the background, the others are rare: they keep their whole cross entropy, while
    (1 - p)^gamma suppresses the background's; and their Tversky loss is raised to 1 - gamma, which
    enhances it, while the background's is not.

    Parameters
    ----------
    log_p : float Tensor of shape (B, C, *spatial)
        Log probabilities of all channels, the background first.
    truth : bool Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where it counts.
    known : bool Tensor of shape (B, C)
        Images and channels that take part. If none does, the loss is 0.
    weight : float
        w, in [0, 1].
    delta : float
        Price of a missed voxel in the Tversky index, and of the rare channels in the cross
        entropy; 1 - delta is that of an invented one, and of the background.
    gamma : float
        In [0, 1).
    batch : bool
        Tversky over the batch (and over all processes of a distributed run).
    smooth : float
        Of the Tversky index, above and below the line.

    References
    ----------
    .. [1] Yeung et al., Unified focal loss, Computerized Medical Imaging and Graphics 95, 2022,
       eq. 20-22.
    """
    counts = counted(valid, known).expand_as(truth)
    probs = log_p.exp()
    rare = torch.arange(log_p.shape[1], device=log_p.device) > 0
    spread = rare.reshape(-1, *(1,) * (log_p.ndim - 2))
    price = torch.where(spread, delta, (1 - delta) * safe_power(-log_p.expm1(), gamma))
    hit = truth & counts
    # log p of a hit is finite; elsewhere it may be anything, so it is left out before the product.
    focal = -(price * log_p.masked_fill(~hit, 0)).sum() / counts.sum().clamp(min=1)
    sums = region_sums(probs, truth, valid, known, batch=batch)
    whole = sums.overlap + delta * sums.fn + (1 - delta) * sums.fp + smooth
    lost = 1 - (sums.overlap + smooth) / whole.masked_fill(whole == 0, 1)
    tversky = class_mean(torch.where(rare, safe_power(lost, 1 - gamma), lost), sums)
    return weight * focal + (1 - weight) * tversky


class UnifiedFocalLoss(RegionLoss):
    """Focal cross entropy and focal Tversky in one; the background alone is suppressed.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    weight, delta, gamma, smooth
        See `unified_focal_loss`.
    batch : bool
        See `medseg.losses.region_loss.RegionLoss`.
    """

    term = "unified_focal"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        weight: float = 0.5,
        delta: float = 0.7,
        gamma: float = 0.5,
        batch: bool = False,
        smooth: float = 1e-7,
    ) -> None:
        super().__init__(activation, regions, batch=batch, include_background=True)
        self.weight = weight
        self.delta = delta
        self.gamma = gamma
        self.smooth = smooth

    def measure(
        self, scores: Tensor, kept: slice, truth: Tensor, valid: Tensor, known: Tensor
    ) -> Tensor:
        """Return `unified_focal_loss`."""
        del kept  # all of them: the background has a part of its own
        if self.activation == "softmax":
            return self._of(scores.log_softmax(1), truth, valid, known)
        # (B, C) questions, each with the channels outside and inside
        pair = torch.stack((-scores, scores), dim=2)
        log_p = functional.logsigmoid(pair)
        both = torch.stack((~truth, truth), dim=2)
        each = [
            self._of(
                log_p[:, c], both[:, c], valid[:, c : c + 1], known[:, c : c + 1].expand(-1, 2)
            )
            for c in range(scores.shape[1])
        ]
        some = known.any(0)
        mean: Tensor = (torch.stack(each) * some).sum() / some.sum().clamp(min=1)
        return mean

    def _of(self, log_p: Tensor, truth: Tensor, valid: Tensor, known: Tensor) -> Tensor:
        """Return the loss of channels the first of which is the background."""
        return unified_focal_loss(
            log_p,
            truth,
            valid,
            known,
            weight=self.weight,
            delta=self.delta,
            gamma=self.gamma,
            batch=self.batch,
            smooth=self.smooth,
        )
