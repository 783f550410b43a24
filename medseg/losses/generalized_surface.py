"""Generalised surface loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

from torch import Tensor

from medseg.losses.base import Activation
from medseg.losses.distance_target import DistanceLoss, distance_field
from medseg.losses.overlap import Reduction
from medseg.registry import lookup

Weighting = Literal["volume", "squared"]


def generalized_surface_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    spacing: Sequence[float] | None = None,
    weighting: Weighting = "volume",
    field: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return 1 - sum of w (D (1 - g - p))² / sum of w D² over channels and voxels [1]_.

    D is the distance to the true boundary, w the weight of a channel. In [0, 1], least at p = g, 1
    where p = 1 - g. Channels are summed before dividing, so those without a boundary (D = 0) drop
    out; an image with none has loss 0.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth : bool Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where the target counts; elsewhere is background to the distances.
    known : bool Tensor of shape (B, C)
        Images and channels that take part. If none does, the loss is 0.
    spacing : sequence of float, optional
        In mm, array axis order. None: 1 each.
    weighting : {"volume", "squared"}
        w = 1 / G, or the published code's 1 / (G² + 1), with G the true voxels of the channel.
    field : float Tensor of shape (B, C, *spatial), optional
        D², `medseg.losses.distance_target.distance_field` of the truth, made ahead.
    reduction : {"mean", "none"}
        A scalar, or one value per image (B,).

    References
    ----------
    .. [1] Celaya et al., A generalized surface loss for reducing the Hausdorff distance in medical
       imaging segmentation, 2023.

    Examples
    --------
    >>> import torch
    >>> truth = torch.tensor([[[False, True, True]]])  # D = (1, 1, 2)
    >>> probs = torch.tensor([[[0.0, 1.0, 0.5]]])  # 1 - (1 + 1 + 4 / 4) / 6
    >>> generalized_surface_loss(probs, truth, truth | True, torch.tensor([[True]])).item()
    0.5
    """
    lookup(dict.fromkeys(get_args(Weighting)), weighting, "weighting of the classes")
    lookup(dict.fromkeys(get_args(Reduction)), reduction, "reduction")
    if field is None:
        field = distance_field(truth, valid, spacing=spacing)
    volume = (truth & valid).flatten(2).sum(2).to(probs.dtype)
    weight = known / (volume.clamp(min=1) if weighting == "volume" else volume.square() + 1)
    apart = (1 - truth.to(probs.dtype) - probs).square()  # 1 where p = g
    agreed = (weight * (apart * field).flatten(2).sum(2)).sum(1)
    whole = (weight * field.flatten(2).sum(2)).sum(1)
    some = whole > 0
    loss = (1 - agreed / whole.where(some, 1)) * some
    if reduction == "none":
        return loss
    mean: Tensor = loss.sum() / known.any(1).sum().clamp(min=1)
    return mean


class GeneralizedSurfaceLoss(DistanceLoss):
    """Squared errors weighted by their distance to the true border, scaled to lie in 0 to 1.

    Parameters
    ----------
    activation, regions, spacing, include_background
        See `DistanceLoss`.
    weighting
        See `generalized_surface_loss`.
    """

    term: ClassVar[str] = "generalized_surface"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        spacing: Sequence[float] | None = None,
        include_background: bool = False,
        weighting: Weighting = "volume",
    ) -> None:
        super().__init__(
            activation, regions, spacing=spacing, include_background=include_background
        )
        lookup(dict.fromkeys(get_args(Weighting)), weighting, "weighting of the classes")
        self.weighting: Weighting = weighting

    def field(self, truth: Tensor, valid: Tensor) -> Tensor:
        """Return D²."""
        return distance_field(truth, valid, spacing=self.spacing)

    def measure(
        self, probs: Tensor, truth: Tensor, valid: Tensor, known: Tensor, field: Tensor
    ) -> Tensor:
        """Return the `generalized_surface_loss`."""
        return generalized_surface_loss(
            probs, truth, valid, known, weighting=self.weighting, field=field
        )
