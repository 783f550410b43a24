"""The budget of a training, and the learning rate over it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

from medseg.errors import ConfigError

UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}
WARM_UP = 0.03
"""Share of the budget over which the learning rate rises to its peak."""
POLY_EXPONENT = 0.9
PLATEAU_BOUND = "250000it"
"""Upper bound of a plateau budget that names none: what nnU-Net always trains."""

ONE_CYCLE_RISE = 0.3
"""Share of the budget over which the one-cycle rate rises."""
ONE_CYCLE_START, ONE_CYCLE_END = 1 / 25, 1 / 25e4
"""Its first and last rate as shares of the peak; torch's OneCycleLR has the same."""

Shape = Literal["cosine", "poly", "one_cycle"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A wall time or a number of optimiser steps; exactly one is set."""

    seconds: float | None = None
    iterations: int | None = None
    plateau: bool = False
    """Stop when validation rises no more; the time or the steps are then an upper bound."""

    @classmethod
    def parse(cls, text: str, key: str = "train.budget") -> Budget:
        """Read ``90s``, ``10min``, ``2h``, ``50000it``, ``plateau`` or ``plateau,2h``.

        ``plateau`` alone ends after `PLATEAU_BOUND` at the latest.

        Raises
        ------
        ConfigError
            For anything else.

        Examples
        --------
        >>> Budget.parse("1.5h").seconds, Budget.parse("50000it").iterations
        (5400.0, 50000)
        >>> Budget.parse("plateau,2h")
        Budget(seconds=7200.0, iterations=None, plateau=True)
        """
        word, _, bound = (part.strip() for part in str(text).partition(","))
        if word == "plateau":
            return replace(cls.parse(bound or PLATEAU_BOUND, key), plateau=True)
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|min|h|it)\s*", str(text))
        if match is None:
            raise ConfigError(
                f"{key} is '{text}'; write a time (90s, 10min, 2h), steps (50000it)"
                " or plateau (plateau,2h)"
            )
        number, unit = float(match[1]), match[2]
        if number <= 0 or (unit == "it" and number != int(number)):
            raise ConfigError(f"{key} is '{text}'; it must be above 0, and steps are whole")
        if unit == "it":
            return cls(iterations=int(number))
        return cls(seconds=number * UNITS[unit])

    def used(self, step: int, seconds: float) -> float:
        """Return the part that is used up, in the budget's own unit."""
        return float(step) if self.seconds is None else seconds

    @property
    def total(self) -> float:
        """The budget in its own unit."""
        return float(self.iterations or 0) if self.seconds is None else self.seconds

    @property
    def unit(self) -> str:
        """``s`` or ``it``."""
        return "it" if self.seconds is None else "s"


def lr_factor(progress: float, shape: Shape) -> float:
    """Return the learning rate as a share of its peak.

    It rises linearly over the first `WARM_UP` of the budget, then falls to 0 at its end: as half a
    cosine, or as the polynomial (1 - p)^0.9 of nnU-Net, both over the whole budget. ``one_cycle``
    [1]_ rises along half a cosine for 30 % of the budget and falls along another.

    Parameters
    ----------
    progress : float
        Share of the budget that is used up, in [0, 1].
    shape : {"cosine", "poly", "one_cycle"}

    References
    ----------
    .. [1] Smith and Topin, Super-convergence, arXiv 1708.07120, 2017; with the cosines of Howard
       and Gugger, fastai, 2020.

    Examples
    --------
    >>> lr_factor(0.0, "poly"), lr_factor(1.0, "cosine")
    (0.01, 0.0)
    """
    left = min(1.0, max(0.0, 1.0 - progress))
    if shape == "one_cycle":
        share = (1.0 - left) / ONE_CYCLE_RISE
        if share <= 1:
            return _along_cosine(ONE_CYCLE_START, 1.0, share)
        return _along_cosine(ONE_CYCLE_END, 1.0, left / (1 - ONE_CYCLE_RISE))
    fall = 0.5 * (1 - math.cos(math.pi * left)) if shape == "cosine" else left**POLY_EXPONENT
    rise = min(1.0, max(0.01, progress / WARM_UP))
    return rise * fall


def _along_cosine(start: float, end: float, share: float) -> float:
    """Return the value at a share of half a cosine from ``start`` to ``end``."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
