"""Generalized Dice, and its penalised form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from medseg.losses.base import Activation
from medseg.losses.overlap import Reduction, RegionSums, region_sums
from medseg.losses.region_loss import RegionLoss
from medseg.registry import lookup

Weighting = Literal["square", "simple", "uniform"]
AbsentWeight = Literal["max", "zero"]


def generalized_weights(
    sums: RegionSums, *, weighting: Weighting = "square", absent: AbsentWeight = "max"
) -> Tensor:
    """Return the weight of each channel, (B, C), the largest of an image being 1.

    Dividing by the largest first makes the loss independent of the volume's size: next to weights
    of 1 / G^2 of large organs the smoothing would outweigh the sums.

    Parameters
    ----------
    sums : RegionSums
    weighting : {"square", "simple", "uniform"}
        1 / G^2, 1 / G or 1.
    absent : {"max", "zero"}
        An absent channel weighs as much as the heaviest present one, or nothing. (1 / (G + tiny)^2
        would make it outweigh all others, and stop the learning from that image.)

    Examples
    --------
    >>> sums = RegionSums(*torch.tensor([[[0.0] * 3], [[0.0] * 3], [[4.0, 2.0, 0.0]]]), None)
    >>> generalized_weights(sums._replace(known=torch.ones(1, 3, dtype=torch.bool))).tolist()
    [[0.25, 1.0, 1.0]]
    """
    lookup(dict.fromkeys(get_args(Weighting)), weighting, "weighting of the generalized Dice")
    lookup(dict.fromkeys(get_args(AbsentWeight)), absent, "weight of absent classes ('absent')")
    present = (sums.true > 0) & sums.known
    if weighting == "uniform":
        weights = torch.ones_like(sums.true)
    else:
        smallest = torch.where(present, sums.true, torch.inf).amin(1, keepdim=True)
        relative = smallest / torch.where(present, sums.true, torch.ones_like(sums.true))
        weights = torch.where(present, relative, torch.ones_like(relative))
        weights = weights**2 if weighting == "square" else weights
    if absent == "zero":
        none = ~present.any(1, keepdim=True)  # nothing to learn from but false positives
        weights = weights * (present | none)
    return weights * sums.known


def generalized_dice_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    weighting: Weighting = "square",
    absent: AbsentWeight = "max",
    penalty: float = 0.0,
    batch: bool = False,
    smooth: float = 1e-5,
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return 1 - (2 sum_c w_c I_c + s) / (sum_c w_c (P_c + G_c) + s), averaged over images [1]_.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth : bool or float Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where it counts.
    known : bool Tensor of shape (B, C)
        Images and channels that take part. If none does, the loss is 0.
    weighting, absent
        See `generalized_weights`. With ``uniform`` and a softmax, no balance of the classes is
        left. Where all channels are absent each weighs 1.
    penalty : float
        k: the score S becomes S / (1 + k (1 - S)), which raises the price of every error [2]_.
    batch : bool
        Sum I, P and G over the batch (and over all processes of a distributed run) first.
    smooth : float
        s.
    class_weights : float Tensor of shape (C,), optional
        Factors of w_c.
    reduction : {"mean", "none"}
        A scalar or (B,): the classes are one sum here.

    References
    ----------
    .. [1] Sudre et al., Generalised Dice overlap as a deep learning loss function for highly
       unbalanced segmentations, DLMIA 2017.
    .. [2] Yang et al., Major vessel segmentation on X-ray coronary angiography using deep networks
       with a novel penalty loss function, MIDL 2019.

    Examples
    --------
    >>> probs = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    >>> truth = torch.tensor([[[True, False, False, False]]])
    >>> yes = torch.ones(1, 1, dtype=torch.bool)
    >>> round(generalized_dice_loss(probs, truth, truth | True, yes).item(), 4)
    0.3333
    """
    lookup(dict.fromkeys(get_args(Reduction)), reduction, "reduction")
    sums = region_sums(probs, truth, valid, known, batch=batch)
    weights = generalized_weights(sums, weighting=weighting, absent=absent)
    if class_weights is not None:
        weights = weights * class_weights.to(weights)
    above = 2 * (weights * sums.overlap).sum(1) + smooth
    below = (weights * (sums.predicted + sums.true)).sum(1) + smooth
    score = above / below.masked_fill(below == 0, 1)
    some = sums.known.any(1)
    losses = (1 - score / (1 + penalty * (1 - score))) * some
    return losses if reduction == "none" else losses.sum() / some.sum().clamp(min=1)


class GeneralizedDiceLoss(RegionLoss):
    """Soft Dice of all classes in one, each weighted by its size, so that small ones count.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    weighting, absent, penalty, smooth
        See `generalized_dice_loss`.
    batch, include_background
        See `medseg.losses.region_loss.RegionLoss`.
    class_weights : sequence of float, optional
        One per channel of the network; factors of the classes' weights.
    """

    term = "generalized_dice"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        weighting: Weighting = "square",
        absent: AbsentWeight = "max",
        penalty: float = 0.0,
        batch: bool = False,
        include_background: bool = False,
        smooth: float = 1e-5,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(
            activation,
            regions,
            batch=batch,
            include_background=include_background,
            class_weights=class_weights,
        )
        self.weighting: Weighting = weighting
        self.absent_weight: AbsentWeight = absent
        self.penalty = penalty
        self.smooth = smooth

    def measure(
        self, scores: Tensor, kept: slice, truth: Tensor, valid: Tensor, known: Tensor
    ) -> Tensor:
        """Return `generalized_dice_loss`."""
        return generalized_dice_loss(
            self.probs(scores, kept),
            truth,
            valid,
            known,
            weighting=self.weighting,
            absent=self.absent_weight,
            penalty=self.penalty,
            batch=self.batch,
            smooth=self.smooth,
            class_weights=self.weights_of(kept),
        )


class PenaltyGeneralizedDiceLoss(GeneralizedDiceLoss):
    """Generalised Dice with a penalty on errors (Yang et al.), 2.5 unless said otherwise.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    penalty, weighting, absent, smooth
        See `generalized_dice_loss`.
    batch, include_background, class_weights
        See `GeneralizedDiceLoss`.
    """

    term = "penalty_generalized_dice"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        penalty: float = 2.5,
        weighting: Weighting = "square",
        absent: AbsentWeight = "max",
        batch: bool = False,
        include_background: bool = False,
        smooth: float = 1e-5,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(
            activation,
            regions,
            weighting=weighting,
            absent=absent,
            penalty=penalty,
            batch=batch,
            include_background=include_background,
            smooth=smooth,
            class_weights=class_weights,
        )
