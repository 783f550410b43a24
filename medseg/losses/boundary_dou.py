"""Boundary difference over union: Dice with the overlap's interior discounted."""

from __future__ import annotations

import torch
from torch import Tensor

from medseg.losses.overlap import Absent, Reduction, class_mean, counted, region_sums, sum_voxels
from medseg.losses.region_loss import SmoothLoss


@torch.no_grad()
def rim(mask: Tensor) -> Tensor:
    """Return the voxels of the mask that share a face with a voxel outside it, in 2D or 3D.

    What lies beyond the image is not known to be outside the mask and does not count.

    Parameters
    ----------
    mask : bool Tensor of shape (B, C, *spatial)

    Returns
    -------
    bool Tensor of shape (B, C, *spatial)

    Examples
    --------
    >>> rim(torch.tensor([[[False, True, True, True, False]]])).int().tolist()
    [[[0, 1, 0, 1, 0]]]
    """
    edge = torch.zeros_like(mask)
    for axis in range(2, mask.ndim):
        length = mask.shape[axis] - 1
        here, there = edge.narrow(axis, 0, length), edge.narrow(axis, 1, length)
        step = mask.narrow(axis, 0, length) ^ mask.narrow(axis, 1, length)
        here |= step
        there |= step
    return edge & mask


def boundary_dou_loss(
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
    """Return (U - 2 I) / (U - (1 + a) I), U = sum p^2 + sum g^2, averaged as Dice is [1]_.

    a = 1 - 2 rim / size of the true object, within [0, 0.8]: the more of an object is interior,
    the less the overlap counts beside its border. The published a has no lower bound, and falls to
    -1 for small objects. Written as 1 - ((1 - a) I + s) / (U - (1 + a) I + s), it is 0 for two
    empty masks, which the published smoothing makes 1.

    Parameters
    ----------
    probs : float Tensor of shape (B, C, *spatial)
        Probabilities, without the channels to be left out.
    truth : bool Tensor of shape (B, C, *spatial)
    valid : bool Tensor of shape (B, 1 or C, *spatial)
        Where it counts; voxels that do not are outside the object when its rim is sought.
    known : bool Tensor of shape (B, C)
        Images and channels that take part in the mean. If none does, the loss is 0.
    batch : bool
        Sum over the batch (and over all processes of a distributed run) first.
    smooth : float
        s.
    absent, class_weights, reduction
        See `medseg.losses.overlap.class_mean`.

    References
    ----------
    .. [1] Sun et al., Boundary difference over union loss for medical image segmentation,
       MICCAI 2023, eq. 2-3.
    """
    sums = region_sums(probs, truth, valid, known, batch=batch, square=True)
    mask = truth & counted(valid, known)
    (edge,), _ = sum_voxels((rim(mask).to(probs.dtype),), known, batch=batch)
    alpha = (1 - 2 * edge / sums.true.clamp(min=1)).clamp(0, 0.8)
    above = (1 - alpha) * sums.overlap + smooth
    below = sums.predicted + sums.true - (1 + alpha) * sums.overlap + smooth
    losses = 1 - above / below.masked_fill(below == 0, 1)
    return class_mean(losses, sums, absent=absent, class_weights=class_weights, reduction=reduction)


class BoundaryDoULoss(SmoothLoss):
    """Difference over union: the more inside an object has, the more its border decides.

    For its settings see `medseg.losses.region_loss.SmoothLoss`.
    """

    term = "boundary_dou"
    function = staticmethod(boundary_dou_loss)
