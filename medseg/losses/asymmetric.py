"""Asymmetric similarity: F-beta as a loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor

from medseg.losses.base import Activation
from medseg.losses.overlap import Absent, Reduction
from medseg.losses.region_loss import Shared
from medseg.losses.tversky import TverskyLoss, tversky_loss


def error_prices(beta: float) -> tuple[float, float]:
    """Return the price of a false positive and of a false negative in F-beta; they sum to 1.

    Examples
    --------
    >>> error_prices(1.0)
    (0.5, 0.5)
    >>> error_prices(2.0)
    (0.2, 0.8)
    """
    square = beta**2
    return 1 / (1 + square), square / (1 + square)


def asymmetric_similarity_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    beta: float = 1.5,
    batch: bool = False,
    smooth: float = 1e-5,
    absent: Absent = "keep",
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return 1 - F_beta, averaged over channels and then over images [1]_.

    F_beta = (I + s) / (I + FP / (1 + beta^2) + beta^2 FN / (1 + beta^2) + s): a beta above 1 asks
    for recall, as in the F-measure.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth : bool or float Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where it counts.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    beta : float
        How many times more recall is worth than precision.
    batch, smooth, absent, class_weights, reduction
        See `medseg.losses.tversky.tversky_loss`.

    References
    ----------
    .. [1] Hashemi et al., Asymmetric loss functions and deep densely-connected networks for
       highly-imbalanced medical image segmentation, IEEE Access 7, 2019, eq. 4.

    Examples
    --------
    >>> import torch
    >>> probs = torch.tensor([[[1.0, 0.0]]])
    >>> truth = torch.tensor([[[True, True]]])  # I = 1, FN = 1
    >>> yes = torch.ones(1, 1, dtype=torch.bool)
    >>> round(asymmetric_similarity_loss(probs, truth, truth, yes, beta=2.0).item(), 4)
    0.4444
    """
    fp_weight, fn_weight = error_prices(beta)
    return tversky_loss(
        probs,
        truth,
        valid,
        known,
        fp_weight=fp_weight,
        fn_weight=fn_weight,
        batch=batch,
        smooth=smooth,
        absent=absent,
        class_weights=class_weights,
        reduction=reduction,
    )


class AsymmetricSimilarityLoss(TverskyLoss):
    """One minus F-beta: above 1, beta makes missed voxels dearer than false ones.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    beta, smooth : float
        See `asymmetric_similarity_loss`.
    **shared
        See `TverskyLoss`.
    """

    term = "asymmetric_similarity"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        beta: float = 1.5,
        smooth: float = 1e-5,
        **shared: Unpack[Shared],
    ) -> None:
        fp_weight, fn_weight = error_prices(beta)
        super().__init__(
            activation, regions, fp_weight=fp_weight, fn_weight=fn_weight, smooth=smooth, **shared
        )
