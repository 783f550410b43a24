"""Cross entropy that costs up to twice as much near the boundaries of the label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from medseg.geometry.edt import edt_squared
from medseg.labels import IGNORE_INDEX
from medseg.losses.base import Activation, Loss
from medseg.losses.cross_entropy import Reduction, binary_cross_entropy, cross_entropy, ratio
from medseg.losses.distance_target import axis_sizes
from medseg.losses.target import one_hot, region_target, softmax_target


@torch.no_grad()
def distance_penalty(masks: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Return how near each voxel of a mask is to what lies outside: 1 nearest, 0 farthest.

    With d the distance from a voxel inside to the nearest one outside,
    D = (d_max - d) / (d_max - d_min) over the mask, per image and channel. Where all are equally
    near, as in an object one voxel thick, D is 1; a mask without any outside has D = 0.

    Parameters
    ----------
    masks : bool Tensor of shape (B, K, *spatial)
        The regions that a label divides an image into.
    spacing : sequence of float, optional
        Voxel size in mm, in array axis order. None: 1 along each axis.

    Returns
    -------
    float32 Tensor of shape (B, K, *spatial)
        In [0, 1]; 0 outside the mask.

    References
    ----------
    .. [1] Caliva et al., Distance map loss penalty term for semantic segmentation, MIDL 2019.

    Examples
    --------
    >>> distance_penalty(torch.tensor([[[False, True, True, True, False]]])).tolist()
    [[[0.0, 1.0, 0.0, 1.0, 0.0]]]
    """
    axes = tuple(range(2, masks.ndim))
    distance = edt_squared(masks, axis_sizes(spacing, len(axes))).sqrt()
    farthest = distance.amax(axes, keepdim=True)
    nearest = distance.masked_fill(~masks, torch.inf).amin(axes, keepdim=True)
    penalty = (farthest - distance) / (farthest - nearest)
    penalty = torch.where(farthest == nearest, 1.0, penalty)
    return penalty.masked_fill(~masks | (farthest == 0), 0.0)  # 0: there is no outside


def distance_penalised_cross_entropy(
    logits: Tensor, label: Tensor, penalty: Tensor, *, reduction: Reduction = "mean"
) -> Tensor:
    """Return the mean of -(1 + D) log p(true class) over the voxels that count [1]_.

    It lies between the cross entropy and twice that.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
    label : integer Tensor of shape (B, *spatial)
        Class indices, or `IGNORE_INDEX`. Without any voxel that counts the loss is 0.
    penalty : float Tensor of shape (B, *spatial)
        D of each voxel within the region of its class: `distance_penalty`, summed over classes.
    reduction : {"mean", "none"}
        ``none``: (B, *spatial), 0 where a voxel does not count.

    References
    ----------
    .. [1] Caliva et al., Distance map loss penalty term for semantic segmentation, MIDL 2019.
    """
    each = (1 + penalty) * cross_entropy(logits, label, reduction="none")
    return each if reduction == "none" else ratio(each.sum(), (label != IGNORE_INDEX).sum())


class DistancePenalisedLoss(Loss):
    """Cross entropy that counts voxels near a border more; for regions, on both of its sides.

    Voxels that are ignored count as background when the distances are taken.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    spacing : sequence of float, optional
        Voxel size in mm. None: 1 along each axis.
    """

    takes_spacing: ClassVar[bool] = True

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        spacing: Sequence[float] | None = None,
    ) -> None:
        super().__init__(activation, regions)
        self.spacing = None if spacing is None else tuple(spacing)

    def target_field(self, label: Tensor, *, annotated: Tensor | None = None) -> Tensor:
        """Return D of each voxel: (B, *spatial) for classes, (B, R, *spatial) for regions.

        Parameters
        ----------
        label, annotated
            See `Loss.forward`.
        """
        del annotated  # what is not annotated is background in the label
        if self.activation == "sigmoid":
            return self._field(region_target(label, self.regions, None)[0])
        index, _ = softmax_target(label)
        return self._field(one_hot(index, int(index.max()) + 1))

    def _field(self, truth: Tensor) -> Tensor:
        """Return `target_field` of masks (B, C, *spatial), one per class or region."""
        inside = distance_penalty(truth, self.spacing)
        if self.activation == "softmax":
            return inside.sum(1)  # every voxel is of one class
        return inside + distance_penalty(~truth, self.spacing)

    def forward(
        self,
        logits: Tensor,
        label: Tensor,
        *,
        annotated: Tensor | None = None,
        field: Tensor | None = None,
    ) -> Tensor:
        """Return a scalar; for ``field`` see `terms`, for the others `Loss`."""
        return self.sum_terms(self.terms(logits, label, annotated=annotated, field=field))

    def terms(
        self,
        logits: Tensor,
        label: Tensor,
        *,
        annotated: Tensor | None = None,
        field: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return ``{"distance_penalised": scalar}``; ``field`` is a `target_field` made ahead."""
        with torch.autocast(logits.device.type, enabled=False):
            scores, truth, valid, _ = self.prepare(logits, label, annotated)
            factor = (self._field(truth) if field is None else field).to(scores)
            if self.activation == "softmax":
                value = distance_penalised_cross_entropy(scores, label, factor)
            else:
                each = binary_cross_entropy(scores, truth, valid, reduction="none")
                value = ratio(((1 + factor) * each).sum(), valid.sum())
            return {"distance_penalised": value}
