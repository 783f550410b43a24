"""Losses: logits and class indices to a scalar. Each is a function of tensors in a thin module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medseg.errors import ConfigError
from medseg.losses.base import Activation, Loss
from medseg.losses.compound import DiceCELoss
from medseg.losses.cross_entropy import CrossEntropyLoss
from medseg.losses.deep_supervision import supervise
from medseg.losses.dice import DiceLoss
from medseg.registry import lookup

__all__ = ["LOSSES", "Loss", "build_loss", "supervise"]

LOSSES: Mapping[str, Callable[..., Loss]] = {
    "cross_entropy": CrossEntropyLoss,
    "dice": DiceLoss,
    "dice_ce": DiceCELoss,
}


def build_loss(
    settings: Mapping[str, Any], activation: Activation, regions: Sequence[Sequence[int]] = ()
) -> Loss:
    """Build the loss that ``settings`` describes.

    Parameters
    ----------
    settings : mapping
        ``name``, and the arguments of that loss.
    activation : {"softmax", "sigmoid"}
        What turns the network's logits into probabilities.
    regions : sequence of sequences of int
        For ``sigmoid``: the class indices that each channel unites.

    Returns
    -------
    Loss
        ``loss(logits, label, annotated=None)``.

    Raises
    ------
    ConfigError
        If there is no such loss, or it has no such argument.
    """
    arguments = dict(settings)
    if "name" not in arguments:
        raise ConfigError(f"train.loss has no 'name'; known: {', '.join(sorted(LOSSES))}")
    name = arguments.pop("name")
    build = lookup(LOSSES, name, "loss")
    try:
        return build(activation, regions, **arguments)
    except TypeError as error:
        raise ConfigError(f"train.loss '{name}': {error}") from error
