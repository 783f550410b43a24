"""Tversky index, plain and focal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor

from medseg.losses.base import Activation
from medseg.losses.overlap import Absent, Reduction, class_mean, region_sums, safe_power
from medseg.losses.region_loss import FunctionLoss, Shared


def tversky_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    fp_weight: float = 0.3,
    fn_weight: float = 0.7,
    gamma: float = 1.0,
    batch: bool = False,
    smooth: float = 1e-5,
    absent: Absent = "keep",
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return (1 - T)^(1 / gamma), T = (I + s) / (I + a FP + b FN + s), averaged [1]_ [2]_.

    The power is taken per channel, before the mean over channels and then over images.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth : bool or float Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where it counts.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    fp_weight, fn_weight : float
        a and b, the price of a false positive and of a false negative; 0.5 and 0.5 is soft Dice.
        (Papers and libraries differ in which of the two they call alpha.)
    gamma : float
        1 is the Tversky loss; 4/3 the focal one of [2]_, which weighs badly segmented classes up.
    batch : bool
        Sum I, FP and FN over the batch (and over all processes of a distributed run) first.
    smooth : float
        s.
    absent, class_weights, reduction
        See `medseg.losses.overlap.class_mean`.

    References
    ----------
    .. [1] Salehi et al., Tversky loss function for image segmentation using 3D fully convolutional
       deep networks, MLMI 2017, eq. 3.
    .. [2] Abraham and Khan, A novel focal Tversky loss function with improved attention U-Net for
       lesion segmentation, ISBI 2019, eq. 4.

    Examples
    --------
    >>> import torch
    >>> probs = torch.tensor([[[1.0, 0.0]]])
    >>> truth = torch.tensor([[[True, True]]])  # I = 1, FN = 1
    >>> yes = torch.ones(1, 1, dtype=torch.bool)
    >>> round(tversky_loss(probs, truth, truth, yes).item(), 4)  # 1 - 1 / 1.7
    0.4118
    """
    sums = region_sums(probs, truth, valid, known, batch=batch)
    whole = sums.overlap + fp_weight * sums.fp + fn_weight * sums.fn + smooth
    index = (sums.overlap + smooth) / whole.masked_fill(whole == 0, 1)
    losses = 1 - index if gamma == 1 else safe_power(1 - index, 1 / gamma)
    return class_mean(losses, sums, absent=absent, class_weights=class_weights, reduction=reduction)


class TverskyLoss(FunctionLoss):
    """Soft Dice with one price for false positives and another for false negatives.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    fp_weight, fn_weight, gamma, smooth : float
        See `tversky_loss`.
    **shared
        ``batch``, ``include_background``, ``absent``, ``class_weights``; see
        `medseg.losses.region_loss.RegionLoss`.
    """

    term = "tversky"
    function = staticmethod(tversky_loss)

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        fp_weight: float = 0.3,
        fn_weight: float = 0.7,
        gamma: float = 1.0,
        smooth: float = 1e-5,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(
            activation,
            regions,
            own={"fp_weight": fp_weight, "fn_weight": fn_weight, "gamma": gamma, "smooth": smooth},
            **shared,
        )


class FocalTverskyLoss(TverskyLoss):
    """Tversky loss to the power 1 / gamma (Abraham and Khan; 4/3): the last errors count more.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    gamma, fp_weight, fn_weight, smooth : float
        See `tversky_loss`.
    **shared
        See `TverskyLoss`.
    """

    term = "focal_tversky"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        gamma: float = 4 / 3,
        fp_weight: float = 0.3,
        fn_weight: float = 0.7,
        smooth: float = 1e-5,
        **shared: Unpack[Shared],
    ) -> None:
        prices = {"fp_weight": fp_weight, "fn_weight": fn_weight}
        super().__init__(activation, regions, gamma=gamma, smooth=smooth, **prices, **shared)
