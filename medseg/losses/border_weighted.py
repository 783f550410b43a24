"""Cross entropy that weighs the narrow gaps between objects: the loss of the U-Net paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from medseg.errors import ConfigError
from medseg.labels import IGNORE_INDEX
from medseg.losses.base import Activation, Loss
from medseg.losses.border_map import border_weight_map, label_instances
from medseg.losses.cross_entropy import (
    Norm,
    Reduction,
    binary_cross_entropy,
    class_tensor,
    cross_entropy,
    fitted,
    full_precision,
    ratio,
)
from medseg.losses.target import merge_unannotated, region_target


def border_weighted_cross_entropy(
    logits: Tensor,
    label: Tensor,
    border: Tensor,
    *,
    class_weights: Tensor | None = None,
    norm: Norm = "count",
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean of -(w_c + border) log p(true class) over the voxels that count [1]_.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
    label : integer Tensor of shape (B, *spatial)
        Class indices, or `IGNORE_INDEX`. Without any voxel that counts the loss is 0.
    border : float Tensor of shape (B, *spatial)
        The maps of `border_weight_map`.
    class_weights : float Tensor of shape (C,), optional
        w_c of the true class. None: 1.
    norm : {"weight", "count"}
        Divide by the sum of the weights, or by the number of voxels that count.
    reduction : {"mean", "none"}
        ``none``: (B, *spatial), 0 where a voxel does not count.

    References
    ----------
    .. [1] Ronneberger et al., U-Net, MICCAI 2015, eq. 1.
    """
    valid = label != IGNORE_INDEX
    each = cross_entropy(logits, label, reduction="none")
    base = 1.0 if class_weights is None else class_weights[label.long() * valid]
    return _weighted(each, (border + base) * valid, valid, norm, reduction)


def border_weighted_binary_cross_entropy(
    logits: Tensor,
    truth: Tensor,
    valid: Tensor,
    border: Tensor,
    *,
    class_weights: Tensor | None = None,
    norm: Norm = "count",
    reduction: Reduction = "mean",
) -> Tensor:
    """Return `border_weighted_cross_entropy` of channels that may overlap.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
    truth, valid : bool Tensor of shape (B, C, *spatial)
        The target, and where it counts. Where nothing counts the loss is 0.
    border : float Tensor of shape (B, C, *spatial)
        The map of each channel; its channel axis may be 1.
    class_weights : float Tensor of shape (C,), optional
        Weight of each channel. None: 1.
    norm, reduction
        See `border_weighted_cross_entropy`.
    """
    each = binary_cross_entropy(logits, truth, valid, reduction="none")
    counts = valid.expand_as(each)
    base = logits.new_ones(()) if class_weights is None else class_weights
    base = base.reshape(-1, *(1,) * (logits.ndim - 2))
    return _weighted(each, (border + base) * counts, counts, norm, reduction)


def _weighted(
    each: Tensor, weights: Tensor, valid: Tensor, norm: Norm, reduction: Reduction
) -> Tensor:
    """Reduce the losses times their weights."""
    each = each * weights
    if reduction == "none":
        return each
    return ratio(each.sum(), weights.sum() if norm == "weight" else valid.sum())


class BorderWeightedLoss(Loss):
    """Cross entropy that weighs the gaps between touching objects more, as in the first U-Net.

    Unless ``field`` is given to the call, the maps are made at every step: the instances are
    the connected components of each class (or region), found in host memory.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    w0 : float
        See `border_weight_map`.
    sigma : float
        Width of the borders in voxels, whatever their spacing.
    sigma_mm : float, optional
        Width of the borders in mm, instead of ``sigma``; it needs the spacing.
    class_weights : sequence of float, optional
        w_c of each class (background first), or the weight of each region.
    norm : {"weight", "count"}
        What the weighted sum is divided by.
    spacing : sequence of float, optional
        Voxel size in mm.
    """

    takes_spacing: ClassVar[bool] = True
    class_weights: Tensor | None

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        w0: float = 10.0,
        sigma: float = 5.0,
        sigma_mm: float | None = None,
        class_weights: Sequence[float] | None = None,
        norm: Norm = "count",
        spacing: Sequence[float] | None = None,
    ) -> None:
        super().__init__(activation, regions)
        if min(sigma, sigma if sigma_mm is None else sigma_mm) <= 0 or w0 < 0:
            raise ConfigError(f"w0 is {w0} and sigma {sigma_mm or sigma}; both must be positive")
        self.w0, self.sigma, self.sigma_mm = w0, sigma, sigma_mm
        self.norm: Norm = norm
        self.spacing = None if spacing is None else tuple(spacing)
        weights = class_tensor(class_weights, "class_weights")
        self.register_buffer("class_weights", weights, persistent=False)

    def target_field(self, label: Tensor, *, annotated: Tensor | None = None) -> Tensor:
        """Return the border term of every image (and region) of a batch, from its components.

        Parameters
        ----------
        label, annotated
            See `Loss.forward`.

        Returns
        -------
        float32 Tensor of shape (B, *spatial), or (B, R, *spatial) for regions
        """
        del annotated  # what is not annotated is background in the label
        if self.activation == "softmax":
            return torch.stack([self._map_of(one) for one in label])
        truth, _ = region_target(label, self.regions, None)
        return torch.stack([torch.stack([self._map_of(r) for r in image]) for image in truth])

    def _map_of(self, label: Tensor) -> Tensor:
        """Return the map of one image of class indices, or of one mask."""
        in_mm = self.sigma_mm is not None
        if in_mm and self.spacing is None:
            raise ConfigError("'sigma_mm' needs the spacing of the voxels; give 'spacing'")
        return border_weight_map(
            label_instances(label),
            w0=self.w0,
            sigma=self.sigma if self.sigma_mm is None else self.sigma_mm,
            spacing=self.spacing if in_mm else None,
        )

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
        """Return ``{"border_weighted": scalar}``.

        ``field``, (B, *spatial) or for regions (B, R or 1, *spatial), is the border term, made
        ahead by `border_weight_map` of true instances, or by `target_field`. None: the latter.
        """
        with torch.autocast(logits.device.type, enabled=False):
            scores = full_precision(logits)
            border = (self.target_field(label) if field is None else field).to(scores)
            weights = fitted(self.class_weights, scores, "class_weights")
            if self.activation == "sigmoid":
                truth, valid = region_target(label, self.regions, annotated)
                value = border_weighted_binary_cross_entropy(
                    scores, truth, valid, border, class_weights=weights, norm=self.norm
                )
            else:
                scores = merge_unannotated(scores, annotated)
                value = border_weighted_cross_entropy(
                    scores, label, border, class_weights=weights, norm=self.norm
                )
            return {"border_weighted": value}
