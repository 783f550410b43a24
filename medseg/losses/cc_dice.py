"""CC-Dice: a Dice per lesion, each within the part of the image that is nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from medseg.losses.base import Activation
from medseg.losses.islands import TINY, mean_per_channel, nearest_islands, sum_per_island
from medseg.losses.overlap import Absent, Reduction, RegionSums, class_mean, counted
from medseg.losses.region_loss import RegionLoss


def cc_dice_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    spacing: Sequence[float] | None = None,
    smooth: float = 1e-5,
    absent: Absent = "keep",
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean over the target's components of the Dice loss in their Voronoi cells [1]_.

    1 - (2 I + s) / (P + G + s), with I, P and G summed over the voxels to which this component is
    the nearest (of several equally near, one gets the voxel). A false positive so costs the lesion
    it lies at. Averaged over the cells of an image and channel, then over channels, then images.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth, valid : bool Tensor of shape (B, C, *spatial)
        The target, and where it counts; the channel axis of ``valid`` may be 1.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    spacing : sequence of float, optional
        In mm, array axis order; None: 1.
    smooth : float
        s; above and below the line.
    absent, class_weights, reduction
        See `medseg.losses.overlap.class_mean`. The one cell of a channel without a component is the
        whole image, so that its s / (P + s) pushes P to 0.

    References
    ----------
    .. [1] Jaus et al., Every component counts: rethinking the measure of success for medical
       semantic segmentation in multi-instance segmentation tasks, AAAI 2025 (there a metric).

    Examples
    --------
    >>> probs = torch.tensor([[[0.9, 0.8, 0.1, 0.2, 0.1, 0.3, 0.4, 0.1]]])
    >>> truth = torch.tensor([[[1, 1, 0, 0, 0, 1, 0, 0]]]).bool()
    >>> yes = torch.ones(1, 1, dtype=torch.bool)
    >>> round(cc_dice_loss(probs, truth, truth | True, yes, smooth=0).item(), 4)
    0.4171
    """
    counts = counted(valid, known)
    truth = truth & counts
    cells = nearest_islands(truth, spacing)  # (B, C, *spatial); 0: no component
    count = int(cells.max())
    p, g = probs * counts, truth.to(probs.dtype)
    overlap, predicted, true = (sum_per_island(x, cells, count) for x in (p * g, p, g))
    below = (predicted + true + smooth).clamp(min=TINY)
    losses = 1 - (2 * overlap + smooth) / below  # (B, C, 1 + count)
    empty = ~truth.flatten(2).any(2, keepdim=True)  # (B, C, 1)
    per_channel = mean_per_channel(losses, torch.cat((empty, true[..., 1:] > 0), 2))
    sums = RegionSums(overlap.sum(2), predicted.sum(2), true.sum(2), known)
    return class_mean(
        per_channel, sums, absent=absent, class_weights=class_weights, reduction=reduction
    )


class CCDiceLoss(RegionLoss):
    """A Dice per lesion, each within the part of the image nearest to it.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    spacing, smooth
        See `cc_dice_loss`.
    include_background, absent, class_weights
        See `RegionLoss`.
    """

    term: ClassVar[str] = "cc_dice"
    takes_spacing: ClassVar[bool] = True

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        spacing: Sequence[float] | None = None,
        include_background: bool = False,
        smooth: float = 1e-5,
        absent: Absent = "keep",
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(
            activation,
            regions,
            include_background=include_background,
            absent=absent,
            class_weights=class_weights,
        )
        self.spacing = None if spacing is None else tuple(spacing)
        self.smooth = smooth

    def measure(
        self, scores: Tensor, kept: slice, truth: Tensor, valid: Tensor, known: Tensor
    ) -> Tensor:
        """Return `cc_dice_loss`."""
        return cc_dice_loss(
            self.probs(scores, kept),
            truth,
            valid,
            known,
            spacing=self.spacing,
            smooth=self.smooth,
            absent=self.absent,
            class_weights=self.weights_of(kept),
        )
