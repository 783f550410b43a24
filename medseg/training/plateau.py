"""A training without a set length: a constant rate until validation rises no more, then to zero.

A cosine over the budget is right at its end alone. A constant learning rate with a short cool-down
ends as well as a cosine of the same length, wherever it ends [1]_; until then the running average
of weights stands for the cool-down.

All times are in the budget's own unit, seconds or optimiser steps, and everything is a share of
the bound or of what was used: the same rule serves ten minutes and a week.

References
----------
.. [1] Hägele et al., Scaling laws and compute-optimal training beyond fixed training durations,
   NeurIPS 2024 (constant rate and cool-down; the shape 1 - sqrt, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

FIRST_SHARE = 1 / 250
"""Share of the bound after which warm-up ends and the first validation is due."""
GROWTH = 1.15
"""A validation is due each time the training has become longer by this factor."""
PATIENCE = 4
"""Validations without a rise that end the plateau: then 43 % of the training brought nothing."""
MIN_RISE = 1e-3
"""Of the score that decides (mean Dice or mIoU), what counts as a rise."""
LEAST_SHARE = 1 / 50
"""Share of the bound before which no plateau is believed."""
COOL_DOWN = 0.2
"""Length of the cool-down, as a share of what was used before it."""


def validations_due(used: float, total: float) -> int:
    """Return how many validations are due up to ``used``: at first, first * 1.15, and so on.

    Examples
    --------
    >>> [validations_due(used, 250.0) for used in (0.5, 1.0, 1.2, 2.0)]
    [0, 1, 2, 5]
    """
    first = FIRST_SHARE * total
    if used < first:
        return 0
    return 1 + math.floor(math.log(used / first) / math.log(GROWTH) + 1e-9)


def has_stalled(scores: Sequence[float]) -> bool:
    """Tell whether none of the last `PATIENCE` validations rose above the best before them.

    A score that is still 0 has not stalled: nothing has been learned yet.

    Parameters
    ----------
    scores : sequence of float
        Mean Dice or mIoU of every validation so far; NaN counts as 0.

    Examples
    --------
    >>> has_stalled([0.5, 0.8, 0.79, 0.8, 0.8005, 0.8]), has_stalled([0.8, 0.79, 0.8, 0.81, 0.8])
    (True, False)
    """
    values = [0.0 if math.isnan(value) else value for value in scores]
    before = max(values[:-PATIENCE], default=0.0)
    return before > 0 and max(values[-PATIENCE:]) < before + MIN_RISE


def cool_down_starts_by(total: float) -> float:
    """Return the latest start of a cool-down that is over when the bound is reached."""
    return total / (1 + COOL_DOWN)


def end(total: float, cool_down_from: float | None) -> float:
    """Return when the training ends: at the bound, or where the cool-down is over."""
    if cool_down_from is None:
        return total
    return min(total, cool_down_from * (1 + COOL_DOWN))


def lr_factor(used: float, total: float, cool_down_from: float | None) -> float:
    """Return the learning rate as a share of its peak.

    Parameters
    ----------
    used, total : float
        What is used of the bound, and the bound (for a time budget less the last validation).
    cool_down_from : float or None
        Where the cool-down began; None before it.
    """
    rise = min(1.0, max(0.01, used / (FIRST_SHARE * total)))
    if cool_down_from is None:
        return rise
    length = max(end(total, cool_down_from) - cool_down_from, 1e-9)
    gone = min(1.0, max(0.0, (used - cool_down_from) / length))
    return rise * (1 - math.sqrt(gone))
