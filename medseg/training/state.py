"""Where a training stands, and how it is written down and found again."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.training.meter import Meter

HISTORY = "history.csv"


@dataclass
class State:
    """All that changes from step to step, besides weights, optimiser and random generators."""

    step: int = 0
    """Optimiser steps taken."""
    seconds: float = 0.0
    """Time used, validations included, over all attempts."""
    validated: int = 0
    """Validations that are done or were passed over."""
    validation_seconds: float = 0.0
    """Time used by validations."""
    longest_validation: float = 0.0
    logged: int = 0
    """Logging points that are done."""
    logged_step: int = 0
    logged_seconds: float = 0.0
    best_step: int = 0
    best_dice: dict[str, float] = field(default_factory=dict)
    """Validation Dice per structure, and ``mean``, at the best step."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row per validation."""
    recent: Meter = field(default_factory=Meter)
    """Losses since the last logging point."""
    interval: Meter = field(default_factory=Meter)
    """Losses since the last validation."""

    def is_better(self, dice: dict[str, float]) -> bool:
        """Tell whether a validation is at least as good as the best so far."""
        best = self.best_dice.get("mean", math.nan)
        return math.isnan(best) or dice["mean"] >= best

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and tensors, for a checkpoint."""
        plain = {k: v for k, v in vars(self).items() if not isinstance(v, Meter)}
        return {**plain, "recent": self.recent.state(), "interval": self.interval.state()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> State:
        """Build from `to_dict`."""
        content = dict(content)
        meters = {name: content.pop(name) for name in ("recent", "interval")}
        state = cls(**content)
        for name, values in meters.items():
            getattr(state, name).load(values)
        return state

    def write_history(self, folder: Path) -> Path:
        """Write ``history.csv`` anew, one row per validation."""
        path, aside = folder / HISTORY, folder / f".{HISTORY}.part"
        columns = list(dict.fromkeys(name for row in self.history for name in row))
        with aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.history)
        aside.replace(path)
        return path
