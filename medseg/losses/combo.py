"""Combo loss: a cross entropy that prices the two errors apart, and soft Dice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from medseg.losses.base import Activation
from medseg.losses.overlap import class_mean, counted, region_sums
from medseg.losses.region_loss import RegionLoss


def log_odds(logits: Tensor, activation: Activation) -> tuple[Tensor, Tensor]:
    """Return log p and log(1 - p) of every channel, both exact at any logit.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
    activation : {"softmax", "sigmoid"}

    Returns
    -------
    (float Tensor, float Tensor), both of shape (B, C, *spatial)

    Examples
    --------
    >>> log_p, log_rest = log_odds(torch.tensor([[[200.0], [0.0]]]), "softmax")
    >>> log_rest[0, 0].item()  # taken from p, which is 1, it would be -inf
    -200.0
    """
    if activation == "sigmoid":
        return functional.logsigmoid(logits), functional.logsigmoid(-logits)
    log_p = logits.log_softmax(1)
    top = torch.zeros_like(logits, dtype=torch.bool).scatter(1, logits.argmax(1, keepdim=True), 1)
    others = log_p.masked_fill(top, torch.finfo(log_p.dtype).min).logsumexp(1, keepdim=True)
    small = log_p.exp().masked_fill(top, 0)  # at most a half
    return log_p, torch.where(top, others, torch.log1p(-small))


def combo_loss(
    log_p: Tensor,
    log_rest: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    weight_ce: float = 0.5,
    fn_weight: float = 0.5,
    offset: bool = True,
    batch: bool = False,
    smooth: float = 1.0,
) -> Tensor:
    """Return a CE - (1 - a) Dice, plus (1 - a) with ``offset`` [1]_.

    CE is the mean over voxels and channels of -b g log p - (1 - b) (1 - g) log(1 - p), and Dice
    the mean over channels and images of (2 I + s) / (P + G + s).

    Parameters
    ----------
    log_p, log_rest : float Tensor of shape (B, C, *spatial)
        See `log_odds`; without the channels to be left out.
    truth : bool Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where it counts.
    known : bool Tensor of shape (B, C)
        Images and channels that take part. If none does, the loss is 0.
    weight_ce : float
        a, in [0, 1].
    fn_weight : float
        b, in [0, 1]: above a half, missed voxels cost more than invented ones.
    offset : bool
        Let the least value be 0; as published it is a - 1.
    batch : bool
        Dice over the batch (and over all processes of a distributed run).
    smooth : float
        s.

    References
    ----------
    .. [1] Taghanaki et al., Combo loss: handling input and output imbalance in multi-organ
       segmentation, Computerized Medical Imaging and Graphics 75, 2019, eq. 3.
    """
    counts = counted(valid, known).expand_as(truth)
    zero = log_p.new_zeros(())
    each = torch.where(truth, -fn_weight * log_p, (fn_weight - 1) * log_rest)
    ce = torch.where(counts, each, zero).sum() / counts.sum().clamp(min=1)
    sums = region_sums(log_p.exp(), truth, valid, known, batch=batch)
    below = sums.predicted + sums.true + smooth
    dice = class_mean(1 - (2 * sums.overlap + smooth) / below.masked_fill(below == 0, 1), sums)
    total = weight_ce * ce + (1 - weight_ce) * dice
    return total if offset else total - (1 - weight_ce) * sums.known.any()


class ComboLoss(RegionLoss):
    """Weighted cross entropy and soft Dice in one formula.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    weight_ce, fn_weight, offset, smooth
        See `combo_loss`.
    batch, include_background
        See `medseg.losses.region_loss.RegionLoss`.
    """

    term = "combo"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        weight_ce: float = 0.5,
        fn_weight: float = 0.5,
        offset: bool = True,
        batch: bool = False,
        include_background: bool = False,
        smooth: float = 1.0,
    ) -> None:
        super().__init__(activation, regions, batch=batch, include_background=include_background)
        self.weight_ce = weight_ce
        self.fn_weight = fn_weight
        self.offset = offset
        self.smooth = smooth

    def measure(
        self, scores: Tensor, kept: slice, truth: Tensor, valid: Tensor, known: Tensor
    ) -> Tensor:
        """Return `combo_loss`."""
        log_p, log_rest = log_odds(scores, self.activation)
        return combo_loss(
            log_p[:, kept],
            log_rest[:, kept],
            truth,
            valid,
            known,
            weight_ce=self.weight_ce,
            fn_weight=self.fn_weight,
            offset=self.offset,
            batch=self.batch,
            smooth=self.smooth,
        )
