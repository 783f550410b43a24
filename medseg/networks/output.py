"""What a network returns while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Prediction(NamedTuple):
    """Logits with what other heads add, while a network trains; else it returns the logits.

    Attributes
    ----------
    logits : float Tensor of shape (B, num_classes, *spatial)
        Full resolution.
    aux : tuple of float Tensor of shape (B, num_classes, *coarser)
        Logits of the coarser levels, finest first; empty without deep supervision.
    extras : mapping
        Whatever else a network hands to its own loss, by name. ``presence``: scores
        (B, num_classes, *cells), whether each class occurs in each cell of a coarse grid.
        ``edges``: scores (B, 1, *spatial), whether a class borders on another there;
        ``dual_edges``: the same, for the logits to agree with.
        ``penalty_...``: terms (B, 1, ...) that need no label; their mean adds to the loss.
        ``query_classes_<i>``, ``query_masks_<i>``: of each layer of a decoder of queries; see
        `medseg.losses.matching`.
    aux_weights : tuple of float, optional
        Weight of the loss of each of ``aux`` beside that of ``logits``, which has 1; None: halved
        from level to level, all summing to 1, as deep supervision has it.
    """

    logits: Tensor
    aux: tuple[Tensor, ...] = ()
    extras: Mapping[str, Tensor] = {}
    aux_weights: tuple[float, ...] | None = None
