"""Weights of the terms of a loss, as functions of the training's progress."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

from medseg.errors import ConfigError
from medseg.registry import lookup, nearest

Shape = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A weight that moves from ``start`` to ``end`` between two shares of the budget.

    It is a function of the progress alone and holds no state. Progress follows from the step (a
    budget of steps) or the time used (a budget of time); both are in the checkpoint, so a training
    that is resumed goes on with the weight it had.
    """

    start: float
    """Weight before ``begin``, and throughout for the shape ``constant``."""
    end: float | None = None
    """Weight after ``until``; None: ``start``."""
    shape: Shape = "linear"
    begin: float = 0.0
    """Share of the budget at which it starts to move (``from`` in a config)."""
    until: float = 1.0
    """Share of the budget at which it has arrived."""

    def __post_init__(self) -> None:
        for key, value in (("start", self.start), ("end", self.last)):
            if not (0 <= value < math.inf):
                raise ConfigError(f"{key} is {value}; it must be a number of at least 0")
        if not 0 <= self.begin < self.until <= 1:
            raise ConfigError(
                f"from is {self.begin:g} and until is {self.until:g}; they are shares of the "
                "budget: 0 <= from < until <= 1"
            )

    @property
    def last(self) -> float:
        """The weight at the end of the budget."""
        return self.start if self.end is None or self.shape == "constant" else self.end

    def at(self, progress: float) -> float:
        """Return the weight at a share of the budget.

        Examples
        --------
        >>> Weight(start=1.0, end=0.0, until=0.5).at(0.25)
        0.5
        """
        share = min(1.0, max(0.0, (progress - self.begin) / (self.until - self.begin)))
        if self.shape == "cosine":
            share = 0.5 * (1 - math.cos(math.pi * share))
        return self.start + (self.last - self.start) * share


WEIGHTS: Mapping[str, Weight] = {
    "rebalance_region": Weight(start=1.0, end=0.01),
    "rebalance_boundary": Weight(start=0.0, end=0.99),
    "increase": Weight(start=0.01, end=1.0),
}
"""The schedules of Kervadec et al. [1]_, with their hundred epochs stretched over the budget.

``rebalance``: a R + (1 - a) B, with a falling from 1 to 0.01; its two weights are the region's and
the boundary's. ``increase``: R + a B, with a rising from 0.01 to 1.

.. [1] Kervadec et al., Boundary loss for highly unbalanced segmentation, Medical Image Analysis 67,
   2021, section 3.3.
"""

_KEYS = {"start": "start", "end": "end", "shape": "shape", "from": "begin", "until": "until"}


def read_weight(value: Any) -> Weight:
    """Read a weight as a config writes it.

    Parameters
    ----------
    value : float, str or mapping
        A number; a name in `WEIGHTS`; or ``start``, ``end``, ``shape``, ``from`` and ``until``.

    Raises
    ------
    ConfigError
        For anything else.

    Examples
    --------
    >>> read_weight({"start": 0.0, "end": 1.0, "from": 0.5}).at(0.75)
    0.5
    """
    if isinstance(value, str):
        return lookup(WEIGHTS, value, "weight schedule")
    if _is_number(value):
        return Weight(start=float(value))
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"weight is {value!r}; write a number, one of {', '.join(WEIGHTS)}, or a mapping with "
            f"{', '.join(_KEYS)}"
        )
    fields: dict[str, Any] = {}
    for key, one in value.items():
        if key not in _KEYS:
            raise ConfigError(f"weight: no such key '{key}'; {nearest(str(key), _KEYS)}")
        if key == "shape" and one not in get_args(Shape):
            raise ConfigError(f"weight: no shape '{one}'; {nearest(str(one), get_args(Shape))}")
        if key != "shape" and not _is_number(one):
            raise ConfigError(f"weight: {key} is {one!r}; it must be a number")
        fields[_KEYS[key]] = one if key == "shape" else float(one)
    if "start" not in fields:
        raise ConfigError("weight: 'start' is missing; add it")
    return Weight(**fields)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
