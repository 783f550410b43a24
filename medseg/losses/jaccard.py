"""Soft Jaccard index (intersection over union)."""

from __future__ import annotations

from torch import Tensor

from medseg.losses.overlap import Absent, Reduction, class_mean, region_sums
from medseg.losses.region_loss import SmoothLoss


def jaccard_loss(
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
    """Return 1 - (I + s) / (P + G - I + s), averaged over channels and then over images [1]_.

    Without smoothing it is 2 D / (1 + D) of the Dice loss D of the same channel.

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
        Sum I, P and G over the batch (and over all processes of a distributed run) first.
    smooth : float
        s.
    absent, class_weights, reduction
        See `medseg.losses.overlap.class_mean`.

    References
    ----------
    .. [1] Rahman and Wang, Optimizing intersection-over-union in deep neural networks for image
       segmentation, ISVC 2016.

    Examples
    --------
    >>> import torch
    >>> probs = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    >>> truth = torch.tensor([[[True, False, False, False]]])
    >>> yes = torch.ones(1, 1, dtype=torch.bool)
    >>> round(jaccard_loss(probs, truth, truth | True, yes).item(), 4)  # 1 - 1 / 2
    0.5
    """
    sums = region_sums(probs, truth, valid, known, batch=batch)
    union = sums.predicted + sums.fn + smooth
    losses = 1 - (sums.overlap + smooth) / union.masked_fill(union == 0, 1)
    return class_mean(losses, sums, absent=absent, class_weights=class_weights, reduction=reduction)


class JaccardLoss(SmoothLoss):
    """Soft Jaccard: one minus the intersection over the union.

    For its settings see `medseg.losses.region_loss.SmoothLoss`.
    """

    term = "jaccard"
    function = staticmethod(jaccard_loss)
