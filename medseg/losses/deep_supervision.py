"""One loss at every scale of a network's output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from medseg.losses.base import Loss
from medseg.losses.dual_task import DUAL_WEIGHT, dual_task_loss
from medseg.losses.edges import EDGE_WEIGHT, edge_loss
from medseg.losses.matching import MASKS, matching_loss
from medseg.losses.presence import PRESENCE_WEIGHT, presence_loss


def scale_weights(count: int) -> tuple[float, ...]:
    """Return 1, 1/2, 1/4, ... divided by their sum.

    Examples
    --------
    >>> scale_weights(2)
    (0.6666666666666666, 0.3333333333333333)
    """
    raw = [0.5**k for k in range(count)]
    return tuple(w / sum(raw) for w in raw)


def shrink_label(label: Tensor, sizes: Sequence[int]) -> Tensor:
    """Take the nearest voxel of each coarser one (the lower of two equally near).

    Parameters
    ----------
    label : integer Tensor of shape (B, *spatial)
    sizes : sequence of int
        The coarser size per axis.

    Returns
    -------
    integer Tensor of shape (B, *sizes)
    """
    for axis, (old, new) in enumerate(zip(label.shape[1:], sizes, strict=True), start=1):
        if old != new:
            centres = (torch.arange(new, device=label.device) + 0.5) * (old / new) - 0.5
            index = (centres - 1e-3).round().long().clamp(0, old - 1)
            label = label.index_select(axis, index)
    return label


@contextmanager
def at_scale(loss: Loss, factors: Sequence[float]) -> Iterator[None]:
    """Let a loss see voxels that are larger by a factor per axis, while this lasts.

    Distances in mm then mean the same at every scale. A loss without spacing counts voxels, and
    goes on counting those of the scale it sees.

    Parameters
    ----------
    loss : Loss
        It, and every loss within it, whose ``takes_spacing`` is true.
    factors : sequence of float
        Fine voxels per coarse one, per axis.
    """
    given = {
        part: part.spacing
        for part in loss.modules()
        if isinstance(part, Loss) and part.takes_spacing and part.spacing is not None
    }
    for part, spacing in given.items():
        part.spacing = tuple(s * f for s, f in zip(spacing, factors, strict=True))
    try:
        yield
    finally:
        for part, spacing in given.items():
            part.spacing = spacing


def supervise(
    loss: Loss,
    logits: Tensor,
    aux: Sequence[Tensor],
    label: Tensor,
    *,
    annotated: Tensor | None = None,
    aux_weights: Sequence[float] | None = None,
    extras: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss over all scales, and the detached terms of the finest one.

    Distances are taken anew at each scale, in its own spacing.

    Parameters
    ----------
    loss : Loss
    logits : float Tensor of shape (B, C, *spatial)
    aux : sequence of float Tensor of shape (B, C, *coarser)
        Finest first; their grids are taken to cover the same field of view, which is so for every
        patch size that is a multiple of the network's divisor.
    label : integer Tensor of shape (B, *spatial)
    annotated : bool Tensor of shape (B, K + 1), optional
    aux_weights : sequence of float, optional
        Weight of each of ``aux`` beside that of ``logits``, which is then 1; without it they are
        `scale_weights`.
    extras : mapping, optional
        Of a `Prediction`; ``presence`` adds `presence_loss` with its weight, and its term, so do
        ``edges`` with `edge_loss` and ``dual_edges`` with `dual_task_loss`. What begins with
        ``penalty_`` is a term by itself: its mean.
        ``query_masks_...`` is trained by `matching_loss` in place of all others, whose terms are
        then told for comparison alone.

    Returns
    -------
    (scalar Tensor, mapping of term name to detached scalar Tensor)
    """
    weights = scale_weights(1 + len(aux)) if aux_weights is None else (1.0, *aux_weights)
    terms = loss.terms(logits, label, annotated=annotated)
    total = weights[0] * loss.sum_terms(terms)
    for weight, coarse in zip(weights[1:], aux, strict=True):
        small = shrink_label(label, coarse.shape[2:])
        factors = [n / m for n, m in zip(label.shape[1:], small.shape[1:], strict=True)]
        with at_scale(loss, factors):
            total = total + weight * loss(coarse, small, annotated=annotated)
    if extras and "presence" in extras:
        terms["presence"] = presence_loss(loss, extras["presence"], label, annotated=annotated)
        total = total + PRESENCE_WEIGHT * terms["presence"]
    if extras and "edges" in extras:
        terms["edges"] = edge_loss(extras["edges"], label)
        total = total + EDGE_WEIGHT * terms["edges"]
    if extras and "dual_edges" in extras:
        scores = extras["dual_edges"]
        terms["dual_task"] = dual_task_loss(loss, logits, scores, label, annotated=annotated)
        total = total + DUAL_WEIGHT * terms["dual_task"]
    for name, value in (extras or {}).items():
        if name.startswith("penalty_"):
            terms[name] = value.float().mean()
            total = total + terms[name]
    if any(name.startswith(MASKS) for name in extras or {}):
        total = terms["matching"] = matching_loss(loss, extras or {}, label, annotated=annotated)
    return total, {name: term.detach() for name, term in terms.items()}
