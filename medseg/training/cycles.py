"""Phases of a training with self-correction: a first one, then cycles that restart the rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medseg.errors import ConfigError
from medseg.training.schedule import Shape, lr_factor

RESTART = 0.5
"""Share of the peak that each cycle's learning rate begins at."""


@dataclass(frozen=True, kw_only=True)
class SelfCorrection:
    """How often the labels are corrected, and from when on."""

    cycles: int = 5
    """After the first phase; each ends with one more network in the running mean."""
    first: float = 2 / 3
    """Share of the budget before the first cycle; 100 of 150 epochs in the paper."""

    def __post_init__(self) -> None:
        if self.cycles < 2:
            raise ConfigError(
                f"train.self_correction.cycles is {self.cycles}; the second is the first whose "
                "labels differ from those given, so ask for 2 or more"
            )
        if not 0 < self.first < 1:
            raise ConfigError(
                f"train.self_correction.first is {self.first}; it must lie between 0 and 1"
            )

    def phases_done(self, progress: float) -> int:
        """Return how many phases, the first one included, end at or before a share of the budget.

        Examples
        --------
        >>> how = SelfCorrection(cycles=2, first=0.5)
        >>> [how.phases_done(p) for p in (0.49, 0.5, 0.75, 1.0)]
        [0, 1, 2, 3]
        """
        if progress < self.first:
            return 0
        later = (progress - self.first) / (1 - self.first)
        return 1 + min(self.cycles, int(later * self.cycles + 1e-9))

    def lr_factor(self, progress: float, shape: Shape) -> float:
        """Return the learning rate as a share of its peak.

        The shape runs through the first phase; each cycle is half a cosine from `RESTART` to 0.
        """
        if progress < self.first:
            return lr_factor(progress / self.first, shape)
        later = min(1.0, (progress - self.first) / (1 - self.first)) * self.cycles
        within = 1.0 if later >= self.cycles else later - int(later)
        return RESTART * 0.5 * (1 + math.cos(math.pi * within))
