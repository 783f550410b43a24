"""What the networks of one context module on a dilated encoder have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from medseg.networks.encoders import Encoder
from medseg.networks.headed import HeadedNetwork
from medseg.networks.heads import ContextHead, classifier


class ContextNetwork(HeadedNetwork):
    """A dilated encoder, a context module on its last map, logits, one auxiliary head.

    Parameters
    ----------
    make : callable
        ``make(ndim, channels, out_channels, kernel=..., norm=...)`` returns the context module.
    **arguments
        Of `medseg.networks.headed.HeadedNetwork`; ``channels`` are those that the context module
        returns.
    """

    def __init__(self, make: Callable[..., nn.Module], **arguments: Any) -> None:
        super().__init__(partial(context_head, make=make), **arguments)


def context_head(
    encoder: Encoder,
    num_classes: int,
    *,
    make: Callable[..., nn.Module],
    ndim: int,
    channels: int,
    norm: str,
    dropout: float,
) -> ContextHead:
    """Return the context module of the encoder's last map, and the classifier behind it."""
    context = make(ndim, encoder.channels[-1], channels, kernel=encoder.kernel, norm=norm)
    return ContextHead(context, classifier(ndim, channels, num_classes, dropout))
