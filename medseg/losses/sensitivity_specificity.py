"""Squared errors on the object and off it, each by its own size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor

from medseg.errors import ConfigError
from medseg.losses.base import Activation
from medseg.losses.overlap import Absent, Reduction, RegionSums, class_mean, counted, sum_voxels
from medseg.losses.region_loss import FunctionLoss, Shared


def sensitivity_specificity_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    sensitivity_weight: float = 0.05,
    smooth: float = 1e-5,
    batch: bool = False,
    absent: Absent = "keep",
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return w Σ (g - p)² g / (Σ g + s) + (1 - w) Σ (g - p)² (1 - g) / (Σ (1 - g) + s) [1]_.

    Per image and channel, averaged over channels and then over images. The first term is the error
    on the object, so w is the weight of the sensitivity; some implementations swap the two names.
    The value lies in [0, 1].

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth, valid : bool Tensor of shape (B, C, *spatial)
        The target, and where it counts; the channel axis of ``valid`` may be 1.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    sensitivity_weight : float
        w in [0, 1]. It is small as false positives are few among many background voxels.
    smooth : float
        s. At 0 a term without any voxel (no object, or no background) is 0.
    batch : bool
        Take the sums over the batch (and over all processes of a distributed run) first.
    absent, class_weights, reduction
        See `medseg.losses.overlap.class_mean`; ``none`` gives (B, C).

    References
    ----------
    .. [1] Brosch et al., Deep convolutional encoder networks for multiple sclerosis lesion
       segmentation, MICCAI 2015, eq. 5.
    """
    counts = counted(valid, known)
    inside, outside = truth & counts, ~truth & counts
    errors = (truth.to(probs.dtype) - probs).square()
    sums, known = sum_voxels(
        (errors * inside, errors * outside, inside, outside), known, batch=batch
    )
    error_in, error_out, true, false = sums
    losses = sensitivity_weight * _share(error_in, true, smooth)
    losses = losses + (1 - sensitivity_weight) * _share(error_out, false, smooth)
    sizes = RegionSums(overlap=true, predicted=true, true=true, known=known)  # G and known matter
    return class_mean(
        losses, sizes, absent=absent, class_weights=class_weights, reduction=reduction
    )


def _share(error: Tensor, size: Tensor, smooth: float) -> Tensor:
    """Return error / (size + smooth), 0 where nothing is divided by nothing."""
    below = size + smooth
    return error / below.masked_fill(below == 0, 1)


class SensitivitySpecificityLoss(FunctionLoss):
    """Squared errors inside and outside of each structure, with a weight for either.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    sensitivity_weight : float
        Weight of the error on the object, in [0, 1].
    smooth : float
        See `sensitivity_specificity_loss`.
    **shared
        ``batch``, ``include_background``, ``absent``, ``class_weights``; see
        `medseg.losses.region_loss.RegionLoss`.
    """

    term = "sensitivity_specificity"
    function = staticmethod(sensitivity_specificity_loss)

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        sensitivity_weight: float = 0.05,
        smooth: float = 1e-5,
        **shared: Unpack[Shared],
    ) -> None:
        if not 0 <= sensitivity_weight <= 1:
            raise ConfigError(f"'sensitivity_weight' is {sensitivity_weight}; it lies in [0, 1]")
        if smooth < 0:
            raise ConfigError(f"'smooth' is {smooth}; it is 0 or more")
        own = {"sensitivity_weight": sensitivity_weight, "smooth": smooth}
        super().__init__(activation, regions, own=own, **shared)
