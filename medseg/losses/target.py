"""From label indices to what a loss compares with: targets, and which of them count."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.labels import IGNORE_INDEX

FAR_BELOW = -1e4
"""Logit of a class that is out of the question; finite, so that sums over classes stay so."""


def merge_unannotated(logits: Tensor, annotated: Tensor | None) -> Tensor:
    """Fold the classes a case does not annotate into its background: the marginal loss [1]_.

    Where the annotation of a case leaves a structure out, its background means "background or that
    structure", so the probabilities of both are added.

    Parameters
    ----------
    logits : float Tensor of shape (B, C, *spatial)
        Scores of background (channel 0) and C - 1 labels.
    annotated : bool Tensor of shape (B, C), optional
        Whether the annotation of a case covers a class; channel 0 is not looked at. None: all.

    Returns
    -------
    float Tensor of shape (B, C, *spatial)
        Channel 0 holds the logsumexp of background and unannotated classes; those are `FAR_BELOW`.

    References
    ----------
    .. [1] Shi et al., Marginal loss and exclusion loss for partially supervised multi-organ
       segmentation, Medical Image Analysis 70, 2021, eq. 4.

    Examples
    --------
    >>> logits = torch.zeros(1, 3, 1)
    >>> merge_unannotated(logits, torch.tensor([[True, True, False]])).softmax(1).flatten().tolist()
    [0.6666666865348816, 0.3333333432674408, 0.0]
    """
    if annotated is None:
        return logits
    known = _spread(annotated[:, 1:], logits)
    background, labels = logits[:, :1], logits[:, 1:]
    hidden = torch.cat((background, labels.masked_fill(known, FAR_BELOW)), dim=1)
    return torch.cat((hidden.logsumexp(1, keepdim=True), labels.masked_fill(~known, FAR_BELOW)), 1)


def softmax_target(label: Tensor) -> tuple[Tensor, Tensor]:
    """Split a label into class indices (ignored voxels become 0) and the mask of voxels that count.

    Parameters
    ----------
    label : integer Tensor of shape (B, *spatial)
        Class indices, `IGNORE_INDEX` where a voxel is to be ignored.

    Returns
    -------
    (int64 Tensor, bool Tensor), both of shape (B, *spatial)
    """
    valid = label != IGNORE_INDEX
    return label.long() * valid, valid


def one_hot(index: Tensor, num_classes: int) -> Tensor:
    """Return a bool Tensor (B, C, *spatial) that is true where ``index`` (B, *spatial) is C."""
    classes = torch.arange(num_classes, device=index.device)
    return index.unsqueeze(1) == _spread(classes.unsqueeze(0), index.unsqueeze(1))


def region_target(
    label: Tensor, regions: Sequence[Sequence[int]], annotated: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the mask of each region, and where it counts.

    Parameters
    ----------
    label : integer Tensor of shape (B, *spatial)
        Class indices, `IGNORE_INDEX` where a voxel is to be ignored.
    regions : sequence of sequences of int
        The class indices that each region unites.
    annotated : bool Tensor of shape (B, K + 1), optional
        Whether the annotation of a case covers a class index. A region of which any part is not
        annotated does not count in that case. None: all.

    Returns
    -------
    (bool Tensor, bool Tensor), both of shape (B, R, *spatial)
    """
    truth = torch.stack([_member(label, region) for region in regions], dim=1)
    valid = (label != IGNORE_INDEX).unsqueeze(1).expand_as(truth)
    if annotated is not None:
        whole = torch.stack([annotated[:, list(region)].all(1) for region in regions], dim=1)
        valid = valid & _spread(whole, truth)
    return truth, valid


def _member(label: Tensor, region: Sequence[int]) -> Tensor:
    """Return where the label is one of the region's class indices."""
    return torch.isin(label, torch.tensor(list(region), dtype=label.dtype, device=label.device))


def _spread(per_channel: Tensor, like: Tensor) -> Tensor:
    """Give a (B, C) tensor the spatial axes of ``like``, each of size 1."""
    return per_channel.reshape(*per_channel.shape, *(1,) * (like.ndim - 2))
