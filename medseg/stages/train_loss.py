"""The loss of a training, as the plan and the labels of its cases complete it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medseg.artefacts import Plan, ResampledCase
from medseg.errors import ConfigError
from medseg.labels import LabelScheme

DEFAULT_LOSS = {"name": "dice_ce"}


def planned_loss(
    loss: dict[str, Any] | list[dict[str, Any]], plan: Plan
) -> dict[str, Any] | list[dict[str, Any]]:
    """Let the default loss take its Dice as planned; a loss that was chosen stands as it is."""
    return {**DEFAULT_LOSS, "batch": True} if loss == DEFAULT_LOSS and plan.batch_dice else loss


def weighed_loss(
    loss: dict[str, Any] | list[dict[str, Any]], cases: Sequence[ResampledCase], scheme: LabelScheme
) -> dict[str, Any] | list[dict[str, Any]]:
    """Put numbers in place of the rules for class weights, from the labels of training cases.

    Raises
    ------
    ConfigError
        If the network's outputs are regions, which overlap.
    """
    from medseg.io.store import open_array
    from medseg.losses.class_frequency import (
        Rule,
        class_counts,
        class_weights,
        say_weights,
        with_class_weights,
    )

    counted: list[Any] = []  # once, for all terms that ask

    def weigh(rule: Rule) -> list[float]:
        if scheme.regions:
            raise ConfigError(
                f"train.loss: class_weights '{rule}' is for labels, and regions overlap; give one "
                "number per region"
            )
        if not counted:
            labels = (open_array(c.label).read_all() for c in cases if c.label is not None)
            counted.extend(class_counts(labels, scheme.num_classes))
        weights = class_weights(counted[0], counted[1], rule)
        say_weights(rule, scheme.output_names, weights)
        return weights

    return with_class_weights(loss, weigh)
