"""Matthews correlation coefficient."""

from __future__ import annotations

from torch import Tensor

from medseg.losses.overlap import Absent, Reduction, RegionSums, class_mean, counted, sum_voxels
from medseg.losses.region_loss import SmoothLoss

TINY = 1e-12
"""The least a count may be below the line, in voxels."""


def mcc_loss(
    probs: Tensor,
    truth: Tensor,
    valid: Tensor,
    known: Tensor,
    *,
    batch: bool = False,
    smooth: float = 1e-5,
    absent: Absent = "keep",
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return one minus the soft Matthews correlation, averaged over channels, then images [1]_.

    (TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN)), with ``smooth`` added to TP
    and to TN: as if so many voxels of either kind had been right. So an absent class costs 0 when
    it is not predicted, and nearly 1 when it is; the same for a class that fills the image.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth : bool or float Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where it counts.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    batch : bool
        Count over the batch (and over all processes of a distributed run).
    smooth : float
        In voxels.
    absent, class_weights, reduction
        See `medseg.losses.overlap.class_mean`.

    References
    ----------
    .. [1] Abhishek and Hamarneh, Matthews correlation coefficient loss for deep convolutional
       networks: application to skin lesion segmentation, ISBI 2021, eq. 3-5.

    Examples
    --------
    >>> import torch
    >>> probs = torch.tensor([[[0.5, 0.5, 0.5, 0.5]]])
    >>> truth = torch.tensor([[[True, False, True, False]]])
    >>> yes = torch.ones(1, 1, dtype=torch.bool)
    >>> round(mcc_loss(probs, truth, truth | True, yes).item(), 4)  # no correlation
    1.0
    """
    counts = counted(valid, known).expand_as(probs)
    p, g = probs * counts, truth * counts
    rest, wrong = (1 - p) * counts, ~g if g.dtype == counts.dtype else 1 - g
    terms = (p * g, p * wrong, rest * g, rest * wrong)
    (tp, fp, fn, tn), known = sum_voxels(terms, known, batch=batch)
    sums = RegionSums(tp, tp + fp, tp + fn, known)
    tp, tn = tp + smooth, tn + smooth
    # Four square roots instead of one: the product of four counts may leave float32's range.
    below = _root(tp + fp) * _root(tp + fn) * _root(tn + fp) * _root(tn + fn)
    losses = 1 - (tp * tn - fp * fn) / below
    return class_mean(losses, sums, absent=absent, class_weights=class_weights, reduction=reduction)


def _root(value: Tensor) -> Tensor:
    """Return the square root of a count, which is not steep at 0."""
    return value.clamp(min=TINY).sqrt()


class MCCLoss(SmoothLoss):
    """One minus Matthews' correlation, which counts true background too.

    For its settings see `medseg.losses.region_loss.SmoothLoss`.
    """

    term = "mcc"
    function = staticmethod(mcc_loss)
