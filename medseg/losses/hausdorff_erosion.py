"""Hausdorff loss by erosion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.errors import ConfigError
from medseg.losses.base import Activation
from medseg.losses.distance_target import ForegroundLoss, mean_over_known, voxel_mean
from medseg.losses.overlap import Reduction

SMALL_RANGE = 1e-6
"""An error whose values differ by less is not stretched to [0, 1]: its slope would be huge."""


def hausdorff_er_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    alpha: float = 2.0,
    erosions: int = 10,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean over voxels of the sum over k of k^alpha times the error eroded k times [1]_.

    A soft erosion replaces the error (p - g)² by its mean over a voxel and its face neighbours
    (beyond the image: 0), less 0.5, at least 0, stretched to [0, 1] over the image and channel. An
    error that survives many erosions is thick. Erosions count voxels, whatever the spacing.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth : bool Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where the target counts; elsewhere is as beyond the image.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    alpha : float
        How much more a thick error costs.
    erosions : int
        How often to erode: the largest depth that is told apart, in voxels.
    reduction : {"mean", "none"}
        A scalar, or one value per image and channel.

    References
    ----------
    .. [1] Karimi and Salcudean, Reducing the Hausdorff distance in medical image segmentation with
       convolutional neural networks, IEEE TMI 39, 2020, eq. 11.

    Examples
    --------
    >>> truth = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    >>> probs = torch.ones(1, 1, 3, 3)  # centre .5, edges .3, corners .1; stretched 1, .5, 0
    >>> yes = torch.tensor([[True]])
    >>> round(hausdorff_er_loss(probs, truth, ~truth, yes, erosions=1).item(), 4)
    0.3333
    """
    counts = valid.to(probs.dtype)
    error = (probs - truth.to(probs.dtype)).square() * counts
    axes = tuple(axis for axis in range(2, error.ndim) if error.shape[axis] > 1)
    total = torch.zeros_like(error)
    for k in range(1, erosions + 1):
        error = _stretch(_erode(error, axes) * counts, counts)
        total = total + error * k**alpha
    return mean_over_known(voxel_mean(total, valid), known, reduction)


def _erode(error: Tensor, axes: Sequence[int]) -> Tensor:
    """Return max(mean over a voxel and its face neighbours - 0.5, 0)."""
    total = error
    for axis in axes:
        edge = torch.zeros_like(error.narrow(axis, 0, 1))
        wide = torch.cat((edge, error, edge), axis)
        size = error.shape[axis]
        total = total + wide.narrow(axis, 0, size) + wide.narrow(axis, 2, size)
    return (total / (2 * len(axes) + 1) - 0.5).clamp(min=0)


def _stretch(error: Tensor, counts: Tensor) -> Tensor:
    """Map what counts of each image and channel to [0, 1]; the rest is 0 and stays so.

    The stretch is held constant under differentiation: through it, the worst error of an image
    would be rewarded for growing, since all others shrink beside it.
    """
    axes = tuple(range(2, error.ndim))
    still = error.detach()
    high = still.amax(axes, keepdim=True)
    low = (still + (1 - counts)).amin(axes, keepdim=True)  # an eroded error is 0.5 at most
    wide = high - low > SMALL_RANGE
    scale = 1 / (high - low).where(wide, 1)
    return (error - low.where(wide, 0) * counts) * scale


class HausdorffERLoss(ForegroundLoss):
    """Hausdorff distance estimated by eroding the errors again and again.

    Parameters
    ----------
    activation, regions, include_background
        See `ForegroundLoss`.
    alpha, erosions
        See `hausdorff_er_loss`.
    """

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        include_background: bool = False,
        alpha: float = 2.0,
        erosions: int = 10,
    ) -> None:
        super().__init__(activation, regions, include_background=include_background)
        if erosions < 1:
            raise ConfigError(f"erosions {erosions} of a Hausdorff loss must be 1 or more")
        self.alpha = alpha
        self.erosions = erosions

    def terms(
        self, logits: Tensor, label: Tensor, *, annotated: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``{"hausdorff_er": scalar}``."""
        with torch.autocast(logits.device.type, enabled=False):
            probs, truth, valid, known = self.compared(logits, label, annotated)
            value = hausdorff_er_loss(
                probs, truth, valid, known, alpha=self.alpha, erosions=self.erosions
            )
            return {"hausdorff_er": value}
