"""How good a prediction will be, judged without a reference: the nouns.

Clues (`medseg.inference.clues`) are what the network's answer itself tells; a `Calibration` turns
one of them into an `ExpectedDice` (`medseg.metrics.expected_dice`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Clue = Literal["flips", "probability"]
"""``flips``: overlap of the mirrored predictions with their mean; ``probability``: Dice that the
network's probabilities promise. Both lie in [0, 1], and more is better."""

Clues = Mapping[str, Mapping[Clue, float]]
"""Structure to its clues; a structure that was not found has none."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How one structure's clue foretold the Dice of the validation cases, and what follows."""

    structure: str
    cases: int
    """Validation cases with the structure in prediction and annotation's cover."""
    clue: Clue | None = None
    """None: there were too few cases, see ``reason``."""
    intercept: float = 0.0
    slope: float = 0.0
    """``logit(Dice) = intercept + slope * logit(clue)``; the slope is 0 or more."""
    residuals: tuple[float, ...] = ()
    """``logit`` of each case's Dice less that of the estimate made without its patient, ascending.
    """
    mean: float = 0.0
    """Mean Dice of the cases."""
    error: float = 0.0
    """Mean distance of Dice and estimate, each case left out of its own."""
    error_of_mean: float = 0.0
    """The same of guessing the mean of the other patients' Dice."""
    spearman: float | None = None
    """Rank correlation of Dice and estimate, each case left out of its own; None where the
    estimate is the same for all."""
    lowest: float | None = None
    highest: float | None = None
    """Smallest and largest clue of the cases; None in files of earlier versions."""
    reason: str = ""
    """Why it is not to be used for single cases; empty where it is."""


@dataclass(frozen=True, kw_only=True)
class ExpectedDice:
    """The Dice to expect of one structure of one case."""

    structure: str
    value: float | None
    """None: not known at all; see ``reason``."""
    low: float | None = None
    high: float | None = None
    """In 80 of 100 cases like those of the validation the Dice lies between them."""
    reason: str = ""
    """Why it is not assessable; empty where it is. A value may stand beside it, to be judged."""
