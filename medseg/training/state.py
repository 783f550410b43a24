"""Where a training stands, and how it is written down and found again."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.training.hard_cases import CaseTable
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
    best_pixels: dict[str, float] = field(default_factory=dict)
    """What `medseg.training.validation.pixel_scores` says of the best step, where mIoU decides."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row per validation."""
    lr_scale: float = 1.0
    """Halved whenever the training had to go back to a good state."""
    recoveries: int = 0
    """Times that it went back."""
    cool_down_from: float | None = None
    """Of a plateau budget: what was used when the cool-down began."""
    counted_step: int = 0
    """Step up to which drawn patches were counted."""
    drawn: dict[str, int] = field(default_factory=dict)
    """Patches centred on each label, and ``anywhere``, among those that were counted."""
    diagnosed: dict[str, str] = field(default_factory=dict)
    """Structures that stayed at Dice 0, and why, in words."""
    cases: CaseTable = field(default_factory=CaseTable)
    """How hard each case is, where that is asked for."""
    recent: Meter = field(default_factory=Meter)
    """Losses since the last logging point."""
    interval: Meter = field(default_factory=Meter)
    """Losses since the last validation."""

    @property
    def best(self) -> tuple[str, float]:
        """The name of the score that decides, and its best value so far; NaN before any."""
        if self.best_pixels:
            return "mIoU", self.best_pixels["miou"]
        return "Dice", self.best_dice.get("mean", math.nan)

    def is_better(self, dice: dict[str, float], pixels: dict[str, float] | None = None) -> bool:
        """Tell whether a validation is at least as good as the best so far.

        Parameters
        ----------
        dice : dict
            Per structure, and ``mean``, which decides unless ``pixels`` are given.
        pixels : dict, optional
            Scores over all pixels of the set; their ``miou`` decides.
        """
        best = self.best[1]
        return math.isnan(best) or (pixels["miou"] if pixels else dice["mean"]) >= best

    def course(self) -> list[float]:
        """Return the score that decides at every validation so far."""
        return [row.get("val/miou", row["val/dice/mean"]) for row in self.history]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and tensors, for a checkpoint."""
        return {
            key: value.state() if isinstance(value, Meter | CaseTable) else value
            for key, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> State:
        """Build from `to_dict`."""
        tables = {name: content[name] for name in ("recent", "interval", "cases")}
        state = cls(**{key: value for key, value in content.items() if key not in tables})
        for name, values in tables.items():
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
