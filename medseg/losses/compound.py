"""Weighted sums of losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.losses.base import Activation, Loss
from medseg.losses.weighting import Weight

BALANCE_EPSILON = 1e-5
"""Keeps the ratio of a balanced term finite where that term is 0."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One loss of a sum."""

    name: str
    """What it is logged as: ``train/loss/<name>``."""
    loss: Loss
    weight: Weight
    auto_balance: bool = False
    """Scale it to the size of the sum's first term: times |first| / |this|, without a gradient."""


class WeightedSum(Loss):
    """A weighted sum of losses, whose weights may follow the training's progress.

    Parameters
    ----------
    activation, regions
        See `Loss`.
    parts : sequence of Term
        The losses; their names differ, and the first is not balanced (it is what others are
        balanced against).
    """

    def __init__(
        self,
        activation: Activation,
        regions: Sequence[Sequence[int]] = (),
        *,
        parts: Sequence[Term],
    ) -> None:
        super().__init__(activation, regions)
        names = [part.name for part in parts]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(
                f"two terms are logged as '{twice[0]}'; give one another name with 'as'"
            )
        if parts and parts[0].auto_balance:
            raise ConfigError(
                f"'{names[0]}' is the first term, which others are balanced against; put another "
                "first, or set its auto_balance to false"
            )
        self.losses = nn.ModuleList(part.loss for part in parts)
        self.schedules = {part.name: part.weight for part in parts}
        self.balanced = frozenset(part.name for part in parts if part.auto_balance)
        self.progress = 0.0

    def set_progress(self, progress: float) -> None:
        """Move the weights, and those of sums within this one."""
        self.progress = progress
        for loss in self._parts():
            loss.set_progress(progress)

    def terms(
        self, logits: Tensor, label: Tensor, *, annotated: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return every loss by its name, before weighting."""
        return {
            name: loss(logits, label, annotated=annotated)
            for name, loss in zip(self.schedules, self._parts(), strict=True)
        }

    def weight_of(self, term: str) -> float:
        """Return the weight of a term at this progress."""
        return self.schedules[term].at(self.progress)

    def sum_terms(self, terms: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of `terms`, balanced where asked for."""
        size = next(iter(terms.values())).detach().abs()
        return torch.stack(
            [
                self.weight_of(name) * (_scale(size, term) if name in self.balanced else 1.0) * term
                for name, term in terms.items()
            ]
        ).sum()

    def _parts(self) -> list[Loss]:
        """Return the losses, typed."""
        return [loss for loss in self.losses if isinstance(loss, Loss)]


def _scale(size: Tensor, term: Tensor) -> Tensor:
    """Return what brings a term to a size, detached."""
    return size / (term.detach().abs() + BALANCE_EPSILON)
