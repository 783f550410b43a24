"""Hausdorff loss by distance transforms, two-sided or one-sided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from medseg.errors import ConfigError
from medseg.losses.base import Activation
from medseg.losses.distance_target import (
    DistanceLoss,
    distance_field,
    mean_over_known,
    voxel_mean,
)
from medseg.losses.overlap import Reduction


def hausdorff_dt_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    spacing: Sequence[float] | None = None,
    alpha: float = 2.0,
    one_sided: bool = False,
    log: bool = False,
    field: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean of (p - g)² (d_p^alpha + d_g^alpha) over voxels [1]_.

    d is the distance to the nearest voxel on the other side of the boundary: of the truth, and of
    p > 0.5. It is 0 where there is no boundary. No gradient goes through distances. Unit:
    mm^alpha.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth : bool Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where the target counts; elsewhere is background to the distances.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    spacing : sequence of float, optional
        In mm, array axis order. None: 1 each.
    alpha : float
        How much more a far error costs; 2 needs no root.
    one_sided : bool
        Leave out d_p [1]_: no distance transform per step if ``field`` is given.
    log : bool
        Return log(1 + loss), of the scalar or of each value.
    field : float Tensor of shape (B, C, *spatial), optional
        `medseg.losses.distance_target.distance_field` of the truth with ``power=alpha``, made
        ahead.
    reduction : {"mean", "none"}
        A scalar, or one value per image and channel.

    References
    ----------
    .. [1] Karimi and Salcudean, Reducing the Hausdorff distance in medical image segmentation with
       convolutional neural networks, IEEE TMI 39, 2020, eq. 8 (two-sided) and 9 (one-sided).

    Examples
    --------
    >>> import torch
    >>> truth = torch.tensor([[[False, False, True, True]]])
    >>> probs = torch.tensor([[[0.0, 1.0, 1.0, 1.0]]])  # d_p² = (1, 1, 4, 9), d_g² = (4, 1, 1, 4)
    >>> hausdorff_dt_loss(probs, truth, truth | True, torch.tensor([[True]])).item()
    0.5
    """
    if field is None:
        field = distance_field(truth, valid, spacing=spacing, power=alpha)
    if not one_sided:
        field = distance_field(probs > 0.5, valid, spacing=spacing, power=alpha).add_(field)
    error = (probs - truth.to(probs.dtype)).square()
    loss = mean_over_known(voxel_mean(error * field, valid), known, reduction)
    return loss.log1p() if log else loss


class HausdorffDTLoss(DistanceLoss):
    """Squared errors weighted by the distances to both borders: bounds the Hausdorff distance.

    Parameters
    ----------
    activation, regions, spacing, include_background
        See `DistanceLoss`.
    alpha, one_sided, log
        See `hausdorff_dt_loss`.
    """

    term: ClassVar[str] = "hausdorff_dt"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        spacing: Sequence[float] | None = None,
        include_background: bool = False,
        alpha: float = 2.0,
        one_sided: bool = False,
        log: bool = False,
    ) -> None:
        super().__init__(
            activation, regions, spacing=spacing, include_background=include_background
        )
        if alpha <= 0:
            raise ConfigError(f"alpha {alpha} of a Hausdorff loss must be positive; it is mostly 2")
        self.alpha = alpha
        self.one_sided = one_sided
        self.log = log

    def field(self, truth: Tensor, valid: Tensor) -> Tensor:
        """Return d_g^alpha."""
        return distance_field(truth, valid, spacing=self.spacing, power=self.alpha)

    def measure(
        self, probs: Tensor, truth: Tensor, valid: Tensor, known: Tensor, field: Tensor
    ) -> Tensor:
        """Return the `hausdorff_dt_loss`."""
        return hausdorff_dt_loss(
            probs,
            truth,
            valid,
            known,
            spacing=self.spacing,
            alpha=self.alpha,
            one_sided=self.one_sided,
            log=self.log,
            field=field,
        )
