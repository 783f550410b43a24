"""Soft Dice and its variants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack, get_args

from torch import Tensor

from medseg.losses.base import Activation
from medseg.losses.overlap import (
    Absent,
    Reduction,
    RegionSums,
    class_mean,
    counted,
    region_sums,
    safe_power,
    sum_voxels,
)
from medseg.losses.region_loss import FunctionLoss, Shared
from medseg.registry import lookup

Form = Literal["sum", "squared", "semimetric", "plusplus"]

TINY = 1e-7
"""The least a Dice may be before its logarithm is taken, in voxels above the line."""


def dice_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    form: Form = "sum",
    log: bool = False,
    gamma: float = 2.0,
    batch: bool = False,
    smooth: float = 1e-5,
    smooth_nr: float | None = None,
    smooth_dr: float | None = None,
    absent: Absent = "keep",
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return 1 - (2 I + s) / (P + G + s), averaged over channels and then over images [1]_.

    I, P and G are the sums of p g, p and g over the voxels of one image and channel that count. A
    channel absent from the truth is kept: its ratio s / (P + s) pushes P to 0.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth : bool or float Tensor of shape (B, C, *spatial)
        The target; soft values belong with ``form="semimetric"``, the one that is least at p = g.
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where it counts.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    form : {"sum", "squared", "semimetric", "plusplus"}
        ``squared``: P and G are the sums of p^2 and g^2 [1]_. ``semimetric``: 2 I is
        P + G - sum |p - g| [3]_. ``plusplus``: P + G is 2 I + sum (p (1 - g))^gamma +
        sum ((1 - p) g)^gamma [4]_.
    log : bool
        Return -log of the Dice instead of one minus it.
    gamma : float
        Exponent of ``plusplus``.
    batch : bool
        Sum I, P and G over the batch (and over all processes of a distributed run) first.
    smooth : float
        s; above and below the line, so that two empty masks agree.
    smooth_nr, smooth_dr : float, optional
        s above and s below the line, where they are to differ.
    absent, class_weights, reduction
        See `medseg.losses.overlap.class_mean`.

    References
    ----------
    .. [1] Milletari et al., V-Net, 3DV 2016 (there with squares in the denominator); the form
       without squares is Drozdzal et al., DLMIA 2016.
    .. [2] Wong et al., MICCAI 2018, for the logarithm.
    .. [3] Wang et al., Dice semimetric losses, MICCAI 2023.
    .. [4] Yeung et al., Calibrating the Dice loss, Journal of Digital Imaging 36, 2023 (Dice++).

    Examples
    --------
    >>> import torch
    >>> probs = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    >>> truth = torch.tensor([[[True, False, False, False]]])
    >>> yes = torch.ones(1, 1, dtype=torch.bool)
    >>> round(dice_loss(probs, truth, truth | True, yes).item(), 4)  # 1 - 2 / 3
    0.3333
    """
    lookup(dict.fromkeys(get_args(Form)), form, "form of the Dice loss")
    upper = smooth if smooth_nr is None else smooth_nr
    lower = smooth if smooth_dr is None else smooth_dr
    twice, both, sums = _ratio(probs, truth, valid, known, form=form, gamma=gamma, batch=batch)
    above, below = twice + upper, both + lower
    if log:
        losses = below.clamp(min=TINY).log() - above.clamp(min=TINY).log()
    else:
        losses = 1 - above / _never_zero(below)
    return class_mean(losses, sums, absent=absent, class_weights=class_weights, reduction=reduction)


def _ratio(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    form: Form,
    gamma: float,
    batch: bool,
) -> tuple[Tensor, Tensor, RegionSums]:
    """Return what stands above and below the line, (B, C) each, and the sums they come from."""
    if form in ("sum", "squared"):
        sums = region_sums(probs, truth, valid, known, batch=batch, square=form == "squared")
        return 2 * sums.overlap, sums.predicted + sums.true, sums
    counts = counted(valid, known)
    p, g = probs * counts, truth * counts.to(probs.dtype)
    if form == "semimetric":
        terms = (p * g, p, g, (p - g).abs())
    else:
        terms = (p * g, p, g, safe_power(p * (1 - g), gamma) + safe_power((1 - p) * g, gamma))
    (overlap, predicted, true, wrong), known = sum_voxels(terms, known, batch=batch)
    sums = RegionSums(overlap, predicted, true, known)
    if form == "semimetric":
        return predicted + true - wrong, predicted + true, sums
    return 2 * overlap, 2 * overlap + wrong, sums


def _never_zero(value: Tensor) -> Tensor:
    """Return the value, 1 where it is 0 (without smoothing and without a single voxel)."""
    return value.masked_fill(value == 0, 1)


class DiceLoss(FunctionLoss):
    """Soft Dice: one minus twice the overlap over the sum of both sizes.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    form, log, gamma, smooth, smooth_nr, smooth_dr
        See `dice_loss`.
    **shared
        ``batch``, ``include_background``, ``absent``, ``class_weights``; see
        `medseg.losses.region_loss.RegionLoss`.
    """

    term = "dice"
    function = staticmethod(dice_loss)

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        form: Form = "sum",
        log: bool = False,
        gamma: float = 2.0,
        smooth: float = 1e-5,
        smooth_nr: float | None = None,
        smooth_dr: float | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        own = {
            "form": form,
            "log": log,
            "gamma": gamma,
            "smooth": smooth,
            "smooth_nr": smooth_nr,
            "smooth_dr": smooth_dr,
        }
        super().__init__(activation, regions, own=own, **shared)
