"""Cross entropy of the hardest voxels only: TopK and online hard example mining."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.errors import ConfigError
from medseg.labels import IGNORE_INDEX
from medseg.losses.base import Activation, Loss
from medseg.losses.cross_entropy import (
    Reduction,
    binary_cross_entropy,
    cross_entropy,
    full_precision,
)
from medseg.losses.target import merge_unannotated, region_target


def topk_mean(
    each: Tensor, valid: Tensor, *, k: float = 10.0, reduction: Reduction = "mean"
) -> Tensor:
    """Return the mean of the k % largest losses among those that count, of the whole batch [1]_.

    Their number is max(1, floor(N k / 100)), N being how many count; voxels that do not count are
    no part of the ranking.

    Parameters
    ----------
    each : float Tensor of any shape
        Losses, 0 or more.
    valid : bool Tensor of that shape
        Where they count. If nowhere, the result is 0.
    k : float
        In (0, 100], percent.
    reduction : {"mean", "none"}
        ``none``: the losses, 0 for those not chosen.

    References
    ----------
    .. [1] Wu et al., Bridging category-level and instance-level semantic image segmentation,
       arXiv 1605.06885, 2016, section 3.2.

    Examples
    --------
    >>> each = torch.tensor([4.0, 1.0, 2.0, 9.0])
    >>> topk_mean(each, torch.tensor([True, True, True, False]), k=70).item()  # of 4 and 2
    3.0
    """
    count = int(valid.sum())
    return _hardest(each, valid, max(1, math.floor(count * k / 100)), count, reduction)


def ohem_mean(
    each: Tensor,
    valid: Tensor,
    *,
    threshold: float = 0.7,
    min_kept: int = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean loss of the voxels whose true class has a probability below a threshold [1]_.

    Parameters
    ----------
    each : float Tensor of any shape
        Losses: -log p(true class).
    valid : bool Tensor of that shape
        Where they count. If nowhere, the result is 0.
    threshold : float
        In (0, 1]: probability below which a voxel is hard.
    min_kept : int
        The hardest voxels that are kept in any case, in the whole batch; at least 1.
    reduction : {"mean", "none"}
        ``none``: the losses, 0 for those not chosen.

    References
    ----------
    .. [1] Shrivastava et al., Training region-based object detectors with online hard example
       mining, CVPR 2016; per pixel: Yang et al., DenseASPP / Yuan et al., OCNet, 2018.

    Examples
    --------
    >>> each = -torch.tensor([0.9, 0.5, 0.2]).log()
    >>> round(ohem_mean(each, each > 0, threshold=0.6).item(), 4)  # of .5 and .2
    1.1513
    """
    hard = valid & (each > -math.log(threshold))
    count, kept = torch.stack((valid.sum(), hard.sum())).tolist()
    return _hardest(each, valid, max(1, min_kept, kept), count, reduction)


def _hardest(each: Tensor, valid: Tensor, kept: int, count: int, reduction: Reduction) -> Tensor:
    """Reduce the ``kept`` largest losses among the ``count`` that are valid."""
    ranked = each.masked_fill(~valid, -1.0).flatten()  # below every loss
    if count == 0:
        return each * 0 if reduction == "none" else each.sum() * 0
    values, where = ranked.topk(min(kept, count), sorted=False)
    if reduction == "mean":
        return values.mean()
    return torch.zeros_like(ranked).scatter(0, where, values).reshape(each.shape)


def topk_cross_entropy(
    logits: Tensor, label: Tensor, *, k: float = 10.0, reduction: Reduction = "mean"
) -> Tensor:
    """Return the `topk_mean` of the cross entropy.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
    label : integer Tensor of shape (B, *spatial)
        Class indices, or `IGNORE_INDEX`.
    k : float
        In (0, 100], percent.
    reduction : {"mean", "none"}
    """
    each = cross_entropy(logits, label, reduction="none")
    return topk_mean(each, label != IGNORE_INDEX, k=k, reduction=reduction)


def ohem_cross_entropy(
    logits: Tensor,
    label: Tensor,
    *,
    threshold: float = 0.7,
    min_kept: int = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the `ohem_mean` of the cross entropy; for the parameters see there."""
    each = cross_entropy(logits, label, reduction="none")
    valid = label != IGNORE_INDEX
    return ohem_mean(each, valid, threshold=threshold, min_kept=min_kept, reduction=reduction)


class _HardVoxelLoss(Loss):
    """What TopK and OHEM share: the loss of each voxel, and where it counts."""

    def voxels(
        self, logits: Tensor, label: Tensor, annotated: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the losses and where they count: (B, *spatial), or (B, R, *spatial)."""
        logits = full_precision(logits)
        if self.activation == "sigmoid":
            truth, valid = region_target(label, self.regions, annotated)
            return binary_cross_entropy(logits, truth, valid, reduction="none"), valid
        merged = merge_unannotated(logits, annotated)
        return cross_entropy(merged, label, reduction="none"), label != IGNORE_INDEX


class TopKLoss(_HardVoxelLoss):
    """Cross entropy of the hardest share of the voxels alone; regions are ranked together.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    k : float
        Percent of the voxels that are kept.
    """

    def __init__(
        self, activation: Activation, regions: Sequence[Sequence[int]] = (), *, k: float = 10.0
    ) -> None:
        super().__init__(activation, regions)
        if not 0 < k <= 100:
            raise ConfigError(f"'k' is {k}; it is a percentage in (0, 100]")
        self.k = k

    def terms(
        self, logits: Tensor, label: Tensor, *, annotated: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``{"topk": scalar}``."""
        with torch.autocast(logits.device.type, enabled=False):
            return {"topk": topk_mean(*self.voxels(logits, label, annotated), k=self.k)}


class OHEMLoss(_HardVoxelLoss):
    """Cross entropy of the voxels whose true class is not yet likely; regions are ranked together.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    threshold : float
        Probability of the true class below which a voxel is kept.
    min_kept : int
        Voxels of a batch that are kept in any case.
    """

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        threshold: float = 0.7,
        min_kept: int = 1,
    ) -> None:
        super().__init__(activation, regions)
        if not 0 < threshold <= 1:
            raise ConfigError(f"'threshold' is {threshold}; it is a probability in (0, 1]")
        if min_kept < 1:
            raise ConfigError(f"'min_kept' is {min_kept}; at least 1 voxel is kept")
        self.threshold, self.min_kept = threshold, min_kept

    def terms(
        self, logits: Tensor, label: Tensor, *, annotated: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``{"ohem": scalar}``."""
        with torch.autocast(logits.device.type, enabled=False):
            each, valid = self.voxels(logits, label, annotated)
            value = ohem_mean(each, valid, threshold=self.threshold, min_kept=self.min_kept)
            return {"ohem": value}
