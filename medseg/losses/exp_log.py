"""Exponential logarithmic loss: powers of the logarithms of Dice and of probability."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.losses.base import Activation
from medseg.losses.overlap import Absent, class_mean, counted, region_sums, safe_power
from medseg.losses.region_loss import RegionLoss


def frequency_weights(frequencies: Sequence[float]) -> list[float]:
    """Return (sum of f / f)^0.5 of each class; a class that never occurs weighs as the rarest.

    Examples
    --------
    >>> frequency_weights([1, 1, 0])
    [1.4142135623730951, 1.4142135623730951, 1.4142135623730951]
    """
    total, seen = sum(frequencies), [f for f in frequencies if f > 0]
    if not seen or min(frequencies) < 0:
        raise ConfigError("class_frequencies must not be negative, and not all 0")
    return [(total / max(f, min(seen))) ** 0.5 for f in frequencies]


def exp_log_loss(
    probs: Tensor,
    surprise: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    voxel_weights: Tensor | None = None,
    weight_dice: float = 0.8,
    weight_ce: float = 0.2,
    gamma: float = 0.3,
    batch: bool = False,
    smooth: float = 1.0,
    absent: Absent = "keep",
) -> Tensor:
    """Return a mean(-log Dice)^gamma + b mean w (-log p)^gamma [1]_.

    The first mean is over channels and then over images, with the power taken before; the second
    over the voxels that count.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    surprise : float Tensor of shape (B, K, *spatial)
        -log p of what is true: K = 1 for classes, K = C for regions.
    truth : bool Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where it counts.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the Dice. If none does, the loss is 0.
    voxel_weights : float Tensor of the shape of ``surprise``, optional
        w; see `frequency_weights`.
    weight_dice, weight_ce : float
        a and b.
    gamma : float
        Exponent of both; the paper's 0.3 makes the loss steep close to the optimum.
    batch, smooth, absent
        See `medseg.losses.dice.dice_loss`.

    References
    ----------
    .. [1] Wong et al., 3D segmentation with exponential logarithmic loss for highly unbalanced
       object sizes, MICCAI 2018, eq. 1-3.
    """
    sums = region_sums(probs, truth, valid, known, batch=batch)
    below = (sums.predicted + sums.true + smooth).clamp(min=1e-7)
    above = (2 * sums.overlap + smooth).clamp(min=1e-7)
    dice = class_mean(safe_power(below.log() - above.log(), gamma), sums, absent=absent)
    counts = valid if surprise.shape[1] == 1 else counted(valid, known)
    counts = counts.expand_as(surprise)
    each = safe_power(surprise, gamma)
    each = each if voxel_weights is None else each * voxel_weights
    cross = (each * counts).sum() / counts.sum().clamp(min=1)
    return weight_dice * dice + weight_ce * cross


class ExpLogLoss(RegionLoss):
    """Powers of log Dice and of cross entropy, for structures of very unequal size.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    class_frequencies : sequence of float, optional
        How many voxels of the training set each class has (in any unit), background first. For
        ``sigmoid``: the share of voxels in each region, in [0, 1]. None: all weights are 1.
    weight_dice, weight_ce, gamma, smooth
        See `exp_log_loss`.
    batch, include_background, absent
        See `medseg.losses.region_loss.RegionLoss`; for the Dice part.
    """

    term = "exp_log"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        class_frequencies: Sequence[float] | None = None,
        weight_dice: float = 0.8,
        weight_ce: float = 0.2,
        gamma: float = 0.3,
        batch: bool = False,
        include_background: bool = False,
        smooth: float = 1.0,
        absent: Absent = "keep",
    ) -> None:
        super().__init__(
            activation, regions, batch=batch, include_background=include_background, absent=absent
        )
        self.weight_dice, self.weight_ce = weight_dice, weight_ce
        self.gamma = gamma
        self.smooth = smooth
        self.frequency_weights: Tensor | None
        self.register_buffer("frequency_weights", self._table(class_frequencies), persistent=False)

    def _table(self, frequencies: Sequence[float] | None) -> Tensor | None:
        """Return weights: per class, or per region (outside, inside)."""
        if frequencies is None:
            return None
        if self.activation == "softmax":
            return torch.tensor(frequency_weights(frequencies))
        if max(frequencies) > 1:
            raise ConfigError("class_frequencies of regions are shares of the voxels, in [0, 1]")
        return torch.tensor([frequency_weights((1 - f, f)) for f in frequencies])

    def measure(
        self, scores: Tensor, kept: slice, truth: Tensor, valid: Tensor, known: Tensor
    ) -> Tensor:
        """Return `exp_log_loss`."""
        weights = None
        table = self.frequency_weights
        if table is not None and len(table) != scores.shape[1]:
            raise ConfigError(
                f"loss '{self.term}': {len(table)} class_frequencies for a network of "
                f"{scores.shape[1]} channels; give one for each"
            )
        if self.activation == "softmax":
            index = self._index(truth, kept)
            surprise = -scores.log_softmax(1).gather(1, index)
            weights = None if table is None else table[index]
        else:
            surprise = -functional.logsigmoid(torch.where(truth, scores, -scores))
            if table is not None:
                spread = table.reshape(1, -1, *(1,) * (scores.ndim - 2), 2)
                weights = torch.where(truth, spread[..., 1], spread[..., 0])
        return exp_log_loss(
            self.probs(scores, kept),
            surprise,
            truth,
            valid,
            known,
            voxel_weights=weights,
            weight_dice=self.weight_dice,
            weight_ce=self.weight_ce,
            gamma=self.gamma,
            batch=self.batch,
            smooth=self.smooth,
            absent=self.absent,
        )

    def _index(self, truth: Tensor, kept: slice) -> Tensor:
        """Return the class index (B, 1, *spatial) that the kept channels of the target tell."""
        first = kept.start or 0
        inside = truth.any(1, keepdim=True)
        index = truth.to(torch.uint8).argmax(1, keepdim=True) + first
        return torch.where(inside, index, torch.zeros_like(index))
