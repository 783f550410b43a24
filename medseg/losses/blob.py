"""Blob loss: every lesion counts the same, whatever its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from medseg.losses.base import Activation
from medseg.losses.compound import Term, WeightedSum
from medseg.losses.dice import DiceLoss
from medseg.losses.islands import TINY, label_islands, mean_per_channel, sum_per_island
from medseg.losses.overlap import Reduction, RegionSums, class_mean, counted
from medseg.losses.region_loss import RegionLoss
from medseg.losses.weighting import Weight


def blob_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    smooth: float = 1e-5,
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean over the target's components k of the Dice loss of each [1]_.

    1 - (2 I_k + s) / (P_k + G_k + s), with sums over all voxels but those of the other components:
    I_k sums p over the component, G_k is its size, and P_k = I_k + the sum of p over no component.
    Averaged over the components of an image and channel, then over channels that have any, then
    over images that have any. Nothing is said of channels without a component (add a region loss).

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth, valid : bool Tensor of shape (B, C, *spatial)
        The target, and where it counts; the channel axis of ``valid`` may be 1.
    known : bool Tensor of shape (B, C)
        Images and channels that take part.
    smooth : float
        s.
    class_weights, reduction
        See `medseg.losses.overlap.class_mean`.

    Notes
    -----
    A voxel belongs to one component, so all components are summed in one pass over the image.

    References
    ----------
    .. [1] Kofler et al., blob loss: instance imbalance aware loss functions for semantic
       segmentation, IPMI 2023, eq. 3, with Dice as the inner loss.

    Examples
    --------
    >>> import torch
    >>> probs = torch.tensor([[[0.9, 0.8, 0.1, 0.2, 0.1, 0.3, 0.4, 0.1]]])
    >>> truth = torch.tensor([[[1, 1, 0, 0, 0, 1, 0, 0]]]).bool()
    >>> yes = torch.ones(1, 1, dtype=torch.bool)
    >>> round(blob_loss(probs, truth, truth | True, yes, smooth=0).item(), 4)
    0.4941
    """
    counts = counted(valid, known)
    truth = truth & counts
    islands = label_islands(truth)  # (B, C, *spatial)
    count = int(islands.max())
    p = sum_per_island(probs * counts, islands, count)  # (B, C, 1 + count); 0: no component
    g = sum_per_island(truth.to(probs.dtype), islands, count)[..., 1:]
    inside = p[..., 1:]
    losses = 1 - (2 * inside + smooth) / (inside + p[..., :1] + g + smooth).clamp(min=TINY)
    per_channel = mean_per_channel(losses, g > 0)
    sums = RegionSums(inside.sum(2), p.sum(2), g.sum(2), known)
    return class_mean(
        per_channel, sums, absent="skip", class_weights=class_weights, reduction=reduction
    )


class BlobTerm(RegionLoss):
    """`blob_loss` alone.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    smooth : float
        See `blob_loss`.
    include_background, class_weights
        See `RegionLoss`.
    """

    term: ClassVar[str] = "blob"

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        include_background: bool = False,
        class_weights: Sequence[float] | None = None,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__(
            activation,
            regions,
            include_background=include_background,
            class_weights=class_weights,
        )
        self.smooth = smooth

    def measure(
        self, scores: Tensor, kept: slice, truth: Tensor, valid: Tensor, known: Tensor
    ) -> Tensor:
        """Return `blob_loss`."""
        return blob_loss(
            self.probs(scores, kept),
            truth,
            valid,
            known,
            smooth=self.smooth,
            class_weights=self.weights_of(kept),
        )


class BlobLoss(WeightedSum):
    """Dice over the whole image plus a Dice per lesion: every lesion counts the same [1]_.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    weight_dice, weight_blob : float
        Weights of the two.
    include_background : bool
        Count channel 0 of a softmax; there is no background among regions.
    class_weights : sequence of float, optional
        One per channel of the network, background included.
    smooth : float
        Of both.

    References
    ----------
    .. [1] Kofler et al., blob loss, IPMI 2023.
    """

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        weight_dice: float = 2.0,
        weight_blob: float = 1.0,
        include_background: bool = False,
        class_weights: Sequence[float] | None = None,
        smooth: float = 1e-5,
    ) -> None:
        dice = DiceLoss(
            activation,
            regions,
            include_background=include_background,
            class_weights=class_weights,
            smooth=smooth,
        )
        blob = BlobTerm(
            activation,
            regions,
            include_background=include_background,
            class_weights=class_weights,
            smooth=smooth,
        )
        super().__init__(
            activation,
            regions,
            parts=[
                Term(name="dice", loss=dice, weight=Weight(start=weight_dice)),
                Term(name="blob", loss=blob, weight=Weight(start=weight_blob)),
            ],
        )
