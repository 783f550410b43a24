"""Boundary loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from medseg.errors import ConfigError
from medseg.losses.base import Activation
from medseg.losses.distance_target import (
    DistanceLoss,
    axis_sizes,
    mean_over_known,
    signed_field,
    voxel_mean,
)
from medseg.losses.overlap import Reduction
from medseg.registry import lookup

Convention = Literal["interface", "kervadec"]


@torch.no_grad()
def boundary_field(
    truth: Tensor,
    valid: Tensor,
    *,
    spacing: Sequence[float] | None = None,
    convention: Convention = "interface",
    normalize: bool = False,
) -> Tensor:
    """Return the signed distance to the boundary of each mask, negative inside.

    Parameters
    ----------
    truth : bool Tensor of shape (B, C, *spatial)
        A mask of one value only has the field 0.
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Ignored voxels are background to the distances, and 0 in the field.
    spacing : sequence of float, optional
        In mm, array axis order. None: 1 each.
    convention : {"interface", "kervadec"}
        ``interface``: the distance d to the nearest voxel of the other side, -d inside, so that the
        boundary lies between the voxels. ``kervadec``: 1 - d inside, as published [1]_, so that
        the inner rim is 0; it stands for no distance unless voxels have size 1.
    normalize : bool
        Divide by the largest absolute value of each image and channel.

    Returns
    -------
    float32 Tensor of shape (B, C, *spatial)

    Raises
    ------
    ConfigError
        For ``kervadec`` at a spacing other than 1.

    References
    ----------
    .. [1] Kervadec et al., Boundary loss for highly unbalanced segmentation, MIDL 2019, eq. 5.

    Examples
    --------
    >>> truth = torch.tensor([[[False, True, True, True]]])
    >>> boundary_field(truth, truth | True).tolist()
    [[[1.0, -1.0, -2.0, -3.0]]]
    >>> boundary_field(truth, truth | True, convention="kervadec").tolist()
    [[[1.0, 0.0, -1.0, -2.0]]]
    """
    lookup(dict.fromkeys(get_args(Convention)), convention, "convention of the boundary loss")
    field = signed_field(truth, valid, spacing=spacing)
    if convention == "kervadec":
        check_kervadec(axis_sizes(spacing, truth.ndim - 2))
        field += field < 0
    if normalize:
        largest = field.flatten(2).abs().amax(2)
        field /= largest.where(largest > 0, 1).reshape(*largest.shape, *(1,) * (field.ndim - 2))
    return field


def check_kervadec(sizes: Sequence[float]) -> None:
    """Raise unless voxels have size 1: in mm, 1 - d may be positive inside."""
    if any(size != 1 for size in sizes):
        raise ConfigError(
            f"convention 'kervadec' at spacing {tuple(sizes)}: it takes 1 off a distance in "
            "voxels; use 'interface', or give spacing 1 to measure in voxels"
        )


def boundary_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    spacing: Sequence[float] | None = None,
    convention: Convention = "interface",
    normalize: bool = False,
    field: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean of p phi over voxels, phi the signed distance to the true boundary [1]_.

    Least, and negative, at p = g. An absent class has phi = 0: its false positives cost nothing, so
    add a region loss. The gradient does not depend on p.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth : bool Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where the target counts.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    spacing, convention, normalize
        See `boundary_field`; not looked at where ``field`` is given.
    field : float Tensor of shape (B, C, *spatial), optional
        `boundary_field` of the truth, made ahead.
    reduction : {"mean", "none"}
        A scalar, or one value per image and channel.

    References
    ----------
    .. [1] Kervadec et al., Boundary loss for highly unbalanced segmentation, MIDL 2019, eq. 6.

    Examples
    --------
    >>> truth = torch.tensor([[[False, True, True, True]]])
    >>> boundary_loss(truth.float(), truth, truth | True, torch.tensor([[True]])).item()
    -1.5
    """
    if field is None:
        field = boundary_field(
            truth, valid, spacing=spacing, convention=convention, normalize=normalize
        )
    return mean_over_known(voxel_mean(probs * field, valid), known, reduction)


class BoundaryLoss(DistanceLoss):
    """Probabilities times their signed distance to the true border; used beside an overlap loss.

    Parameters
    ----------
    activation, regions, spacing, include_background
        See `DistanceLoss`.
    convention, normalize
        See `boundary_field`.
    """

    term: ClassVar[str] = "boundary"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        spacing: Sequence[float] | None = None,
        include_background: bool = False,
        convention: Convention = "interface",
        normalize: bool = False,
    ) -> None:
        super().__init__(
            activation, regions, spacing=spacing, include_background=include_background
        )
        lookup(dict.fromkeys(get_args(Convention)), convention, "convention of the boundary loss")
        if convention == "kervadec":
            check_kervadec(self.spacing or ())
            self.spacing = None  # voxels, at every scale
        self.convention: Convention = convention
        self.normalize = normalize

    def field(self, truth: Tensor, valid: Tensor) -> Tensor:
        """Return the `boundary_field`."""
        return boundary_field(
            truth,
            valid,
            spacing=self.spacing,
            convention=self.convention,
            normalize=self.normalize,
        )

    def measure(
        self, probs: Tensor, truth: Tensor, valid: Tensor, known: Tensor, field: Tensor
    ) -> Tensor:
        """Return the `boundary_loss`."""
        return boundary_loss(probs, truth, valid, known, field=field)
