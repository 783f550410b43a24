"""Queries matched to the segments of the truth: the loss that MaskFormer was published with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.losses.base import Loss
from medseg.losses.target import one_hot, softmax_target

CLASSES, MASKS = "query_classes_", "query_masks_"
"""Names of what a layer hands over, before its number: see `matching_loss`."""
FOCAL_WEIGHT, DICE_WEIGHT, NOTHING_WEIGHT = 20.0, 1.0, 0.1
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


def matching_loss(
    loss: Loss,
    extras: Mapping[str, Tensor],
    label: Tensor,
    *,
    annotated: Tensor | None = None,
) -> Tensor:
    """Return the loss of matched queries [1]_, summed over the decoder's layers.

    Each class that an image shows is one segment, background too. The Hungarian method gives each
    segment the query that costs least by class probability and mask. That query is to name the
    class and draw the mask (focal loss, weight 20, and Dice); all others are to say "none", which
    weighs 0.1.

    Parameters
    ----------
    loss : Loss
        Says what the classes are.
    extras : mapping
        Per layer ``query_classes_<i>``, scores (B, Q * (K + 1), 1, ...) whose last class of each
        query is "none", and ``query_masks_<i>``, scores (B, Q, *coarser).
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
            scores = extras[CLASSES + name.removeprefix(MASKS)].float()
            classes = scores.reshape(len(scores), masks.shape[1], -1)  # (B, Q, K + 1)
            total = total + _layer_loss(classes, masks.float(), index, valid)
    return total


def _layer_loss(classes: Tensor, masks: Tensor, index: Tensor, valid: Tensor) -> Tensor:
    """Return the loss of one layer's queries.

    Parameters
    ----------
    classes : float32 Tensor of shape (B, Q, K + 1)
    masks : float32 Tensor of shape (B, Q, *coarser)
    index : int64 Tensor of shape (B, *spatial)
    valid : bool Tensor of shape (B, *spatial)
    """
    nothing = classes.shape[2] - 1
    wanted = torch.full(classes.shape[:2], nothing, device=classes.device)
    drawn = masks.new_zeros(())
    matched = 0
    for b in range(len(classes)):
        shown = torch.unique(index[b][valid[b]])
        segments = one_hot(index[b : b + 1], nothing)[0][shown] & valid[b]  # (G, *spatial)
        queries, order = match(classes[b], masks[b], shown, segments, valid[b])
        if not len(queries):  # every voxel is ignored
            continue
        wanted[b, queries] = shown[order]
        fine = _resize(masks[b : b + 1, queries], index.shape[1:])[0]
        focal, dice = mask_losses(fine, segments[order], valid[b])
        drawn = drawn + FOCAL_WEIGHT * focal.sum() + DICE_WEIGHT * dice.sum()
        matched += len(queries)
    weight = classes.new_ones(nothing + 1)
    weight[nothing] = NOTHING_WEIGHT
    named = functional.cross_entropy(classes.flatten(0, 1), wanted.flatten(), weight)
    return named + drawn / max(matched, 1)


@torch.no_grad()
def match(
    classes: Tensor, masks: Tensor, shown: Tensor, segments: Tensor, valid: Tensor
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
    probs = seen.sigmoid()
    inside = FOCAL_ALPHA * (1 - probs) ** FOCAL_GAMMA * functional.softplus(-seen) * counts
    outside = (1 - FOCAL_ALPHA) * probs**FOCAL_GAMMA * functional.softplus(seen) * counts
    focal = (inside @ truth.T + outside @ (1 - truth).T) / counts.sum().clamp(min=1)  # (Q, G)
    probs = probs * counts
    dice = 1 - (2 * probs @ truth.T + 1) / (probs.sum(1)[:, None] + truth.sum(1) + 1)
    cost = FOCAL_WEIGHT * focal + DICE_WEIGHT * dice - classes.softmax(1)[:, shown]
    rows, columns = linear_sum_assignment(cost.nan_to_num(nan=1e6).cpu().numpy())
    device = classes.device
    return torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)


def mask_losses(masks: Tensor, truth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return the focal loss and one minus the Dice of each mask, over the voxels that count.

    Parameters
    ----------
    masks : float32 Tensor of shape (G, *spatial)
        Scores.
    truth : bool Tensor of shape (G, *spatial)
    valid : bool Tensor of shape (*spatial,)

    Returns
    -------
    float32 Tensor, float32 Tensor of shape (G,)
    """
    seen, real, counts = masks.flatten(1), truth.flatten(1).float(), valid.flatten().float()
    probs = seen.sigmoid()
    inside = FOCAL_ALPHA * (1 - probs) ** FOCAL_GAMMA * functional.softplus(-seen) * real
    outside = (1 - FOCAL_ALPHA) * probs**FOCAL_GAMMA * functional.softplus(seen) * (1 - real)
    focal = ((inside + outside) * counts).sum(1) / counts.sum().clamp(min=1)
    probs = probs * counts
    dice = 1 - (2 * (probs * real).sum(1) + 1) / (probs.sum(1) + (real * counts).sum(1) + 1)
    return focal, dice


def _resize(masks: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Interpolate masks (1, G, *coarser) linearly to (1, G, *sizes)."""
    mode = {2: "bilinear", 3: "trilinear"}[len(sizes)]
    return functional.interpolate(masks, sizes, mode=mode, align_corners=False)
