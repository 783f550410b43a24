"""Whether each class occurs, as a loss beside that of the voxels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from medseg.losses.base import Loss

PRESENCE_WEIGHT = 0.2  # of the paper
_MAX_POOL = {4: functional.adaptive_max_pool2d, 5: functional.adaptive_max_pool3d}  # by tensor axes


def presence_loss(
    loss: Loss, scores: Tensor, label: Tensor, *, annotated: Tensor | None = None
) -> Tensor:
    """Return the binary cross entropy of "does this class occur in this cell?" [1]_.

    Parameters
    ----------
    loss : Loss
        Says what the channels mean (class indices, or regions) and what is ignored.
    scores : float Tensor of shape (B, C, *cells)
        Raw scores on a coarse grid, in the paper of one cell: the whole image.
    label : integer Tensor of shape (B, *spatial)
    annotated : bool Tensor of shape (B, K + 1), optional

    Returns
    -------
    scalar Tensor
        Mean over the channels that are annotated; 0 if none is.

    References
    ----------
    .. [1] Zhang et al., Context encoding for semantic segmentation, CVPR 2018, section 3.1
       (semantic encoding loss).
    """
    _, truth, valid, known = loss.prepare(scores, label, annotated)
    occurs = _MAX_POOL[scores.ndim]((truth & valid).float(), scores.shape[2:])  # (B, C, *cells)
    each = functional.binary_cross_entropy_with_logits(scores.float(), occurs, reduction="none")
    share = known.to(each.dtype)
    return (each.flatten(2).mean(-1) * share).sum() / share.sum().clamp(min=1)
