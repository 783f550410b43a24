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
        Whatever else a network hands to its own loss, by name.
    """

    logits: Tensor
    aux: tuple[Tensor, ...] = ()
    extras: Mapping[str, Tensor] = {}
