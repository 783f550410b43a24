"""Queries matched to the segments of the truth: the losses of MaskFormer and Mask2Former."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.losses.base import Loss
from medseg.losses.target import one_hot, softmax_target

CLASSES, MASKS = "query_classes_", "query_masks_"
"""Names of what a layer hands over, before its number: see `matching_loss`."""
NOTHING_WEIGHT = 0.1
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What naming the class, each voxel of the mask and its Dice weigh, in matching and in loss."""

    named: float
    voxels: float
    dice: float
    focal: bool
    """The loss of a voxel is the focal loss, or else cross-entropy."""


MASKFORMER = Weights(named=1.0, voxels=20.0, dice=1.0, focal=True)
MASK2FORMER = Weights(named=2.0, voxels=5.0, dice=5.0, focal=False)
CROSS_ENTROPY = "ce_"
"""Comes between `MASKS` and the number of a layer that is trained as in Mask2Former."""


def matching_loss(
    loss: Loss,
    extras: Mapping[str, Tensor],
    label: Tensor,
    *,
    annotated: Tensor | None = None,
) -> Tensor:
    """Return the loss of matched queries [1]_ [2]_, summed over the decoder's layers.

    Each class that an image shows is one segment, background too. The Hungarian method gives each
    segment the query that costs least by class probability and mask. That query is to name the
    class and draw the mask; all others are to say "none", which weighs 0.1 of a class. MaskFormer
    weighs class, focal loss and Dice of the mask 1, 20, 1; Mask2Former class, cross-entropy and
    Dice 2, 5, 5. Masks are compared at every voxel, not at points drawn among them as in [2]_.

    Parameters
    ----------
    loss : Loss
        Says what the classes are.
    extras : mapping
        Per layer ``query_classes_<i>``, scores (B, Q * (K + 1), 1, ...) whose last class of each
        query is "none", and ``query_masks_<i>``, scores (B, Q, *coarser). With ``ce_`` before the
        number the weights are those of Mask2Former.
    label : integer Tensor of shape (B, *spatial)
    annotated : bool Tensor of shape (B, K), optional

    Returns
    -------
    scalar Tensor

    Raises
    ------
    ConfigError
        If outputs are regions, or the annotation of a case does not cover all classes: then it is
        not known which segments there are.

    References
    ----------
    .. [1] Cheng, Schwing and Kirillov, Per-pixel classification is not all you need for semantic
       segmentation, NeurIPS 2021, section 3.2 and appendix A (weights).
    .. [2] Cheng et al., Masked-attention mask transformer for universal image segmentation,
       CVPR 2022, section 3.3 and 4.1 (weights).
    """
    if loss.activation == "sigmoid":
        raise ConfigError(
            "network.arguments.matching is for labels, and regions overlap; leave it out"
        )
    if annotated is not None and not bool(annotated.all()):
        raise ConfigError(
            "network.arguments.matching needs cases that are annotated for every label; leave it "
            "out, or exclude the others in the manifest"
        )
    index, valid = softmax_target(label)
    total = label.new_zeros((), dtype=torch.float32)
    for name, masks in extras.items():
        if name.startswith(MASKS):
            layer = name.removeprefix(MASKS)
            weights = MASK2FORMER if layer.startswith(CROSS_ENTROPY) else MASKFORMER
            scores = extras[CLASSES + layer].float()
            classes = scores.reshape(len(scores), masks.shape[1], -1)  # (B, Q, K + 1)
            total = total + _layer_loss(classes, masks.float(), index, valid, weights)
    return total


def _layer_loss(
    classes: Tensor, masks: Tensor, index: Tensor, valid: Tensor, weights: Weights
) -> Tensor:
    """Return the loss of one layer's queries.

    Parameters
    ----------
    classes : float32 Tensor of shape (B, Q, K + 1)
    masks : float32 Tensor of shape (B, Q, *coarser)
    index : int64 Tensor of shape (B, *spatial)
    valid : bool Tensor of shape (B, *spatial)
    weights : Weights
    """
    nothing = classes.shape[2] - 1
    wanted = torch.full(classes.shape[:2], nothing, device=classes.device)
    drawn = masks.new_zeros(())
    matched = 0
    for b in range(len(classes)):
        shown = torch.unique(index[b][valid[b]])
        segments = one_hot(index[b : b + 1], nothing)[0][shown] & valid[b]  # (G, *spatial)
        queries, order = match(classes[b], masks[b], shown, segments, valid[b], weights)
        if not len(queries):  # every voxel is ignored
            continue
        wanted[b, queries] = shown[order]
        fine = _resize(masks[b : b + 1, queries], index.shape[1:])[0]
        voxels, dice = mask_losses(fine, segments[order], valid[b], focal=weights.focal)
        drawn = drawn + weights.voxels * voxels.sum() + weights.dice * dice.sum()
        matched += len(queries)
    share = classes.new_ones(nothing + 1)
    share[nothing] = NOTHING_WEIGHT
    named = functional.cross_entropy(classes.flatten(0, 1), wanted.flatten(), share)
    return weights.named * named + drawn / max(matched, 1)


@torch.no_grad()
def match(
    classes: Tensor,
    masks: Tensor,
    shown: Tensor,
    segments: Tensor,
    valid: Tensor,
    weights: Weights = MASKFORMER,
) -> tuple[Tensor, Tensor]:
    """Give each segment of an image the query of least cost, at the size of the masks.

    Parameters
    ----------
    classes : float32 Tensor of shape (Q, K + 1)
    masks : float32 Tensor of shape (Q, *coarser)
    shown : int64 Tensor of shape (G,)
        Class of each segment.
    segments : bool Tensor of shape (G, *spatial)
    valid : bool Tensor of shape (*spatial,)
    weights : Weights

    Returns
    -------
    int64 Tensor, int64 Tensor of shape (min(Q, G),)
        Queries, and the segments that they are given.
    """
    if not len(shown):
        none = shown.new_zeros(0)
        return none, none
    small = functional.interpolate(
        torch.cat((segments, valid[None]))[None].to(masks.dtype), masks.shape[1:]
    )[0]
    truth, counts = small[:-1].flatten(1), small[-1].flatten()  # (G, N), (N,)
    seen = masks.flatten(1)  # (Q, N)
    inside, outside = (one * counts for one in _voxel_losses(seen, focal=weights.focal))
    voxels = (inside @ truth.T + outside @ (1 - truth).T) / counts.sum().clamp(min=1)  # (Q, G)
    probs = seen.sigmoid() * counts
    dice = 1 - (2 * probs @ truth.T + 1) / (probs.sum(1)[:, None] + truth.sum(1) + 1)
    named = classes.softmax(1)[:, shown]
    cost = weights.voxels * voxels + weights.dice * dice - weights.named * named
    rows, columns = linear_sum_assignment(cost.nan_to_num(nan=1e6).cpu().numpy())
    device = classes.device
    return torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)


def _voxel_losses(scores: Tensor, *, focal: bool) -> tuple[Tensor, Tensor]:
    """Return the loss of each score if its voxel is inside the segment, and if it is outside."""
    inside, outside = functional.softplus(-scores), functional.softplus(scores)
    if not focal:
        return inside, outside
    probs = scores.sigmoid()
    return (
        FOCAL_ALPHA * (1 - probs) ** FOCAL_GAMMA * inside,
        (1 - FOCAL_ALPHA) * probs**FOCAL_GAMMA * outside,
    )


def mask_losses(
    masks: Tensor, truth: Tensor, valid: Tensor, *, focal: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the loss of the voxels and one minus the Dice of each mask, over those that count.

    Parameters
    ----------
    masks : float32 Tensor of shape (G, *spatial)
        Scores.
    truth : bool Tensor of shape (G, *spatial)
    valid : bool Tensor of shape (*spatial,)
    focal : bool
        The focal loss of each voxel, or its cross-entropy.

    Returns
    -------
    float32 Tensor, float32 Tensor of shape (G,)
    """
    seen, real, counts = masks.flatten(1), truth.flatten(1).float(), valid.flatten().float()
    inside, outside = _voxel_losses(seen, focal=focal)
    voxels = ((inside * real + outside * (1 - real)) * counts).sum(1) / counts.sum().clamp(min=1)
    probs = seen.sigmoid() * counts
    dice = 1 - (2 * (probs * real).sum(1) + 1) / (probs.sum(1) + (real * counts).sum(1) + 1)
    return voxels, dice


def _resize(masks: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Interpolate masks (1, G, *coarser) linearly to (1, G, *sizes)."""
    mode = {2: "bilinear", 3: "trilinear"}[len(sizes)]
    return functional.interpolate(masks, sizes, mode=mode, align_corners=False)
