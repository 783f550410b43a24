"""What *train* hands on: networks, and how they came about.

Artefacts as those of `medseg.artefacts`, in a file of their own, so that a change of theirs leaves
the keys of the stages before them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.artefacts import NetworkSpec

Score = Literal["dice", "miou"]
"""What says how good a model is: the mean Dice of the cases, or the mIoU over all pixels of the
set."""

SCORE_TITLES = {"dice": "mean Dice", "miou": "mIoU over the set"}


@dataclass(frozen=True, kw_only=True)
class TrainedFold:
    """One network of a model: it validated on the cases of one fold and saw those of the others."""

    fold: int
    weights: Path
    """safetensors."""
    cases: tuple[str, ...]
    """Ids of the cases it was trained on."""
    steps: int
    best_step: int
    validation_dice: Mapping[str, float]
    """Mean validation Dice per structure at the kept step."""
    validation_miou: float | None = None
    """mIoU over all validation pixels at the kept step; None where the mean Dice decided which step
    is kept (``train.score``)."""
    history: Path
    """CSV: one row per validation (step, progress, seconds, lr, losses, dice per structure)."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """The trained networks, one per fold; written by *train*."""

    network: NetworkSpec
    folds: tuple[TrainedFold, ...]
    """At least one, by number."""

    @property
    def score(self) -> Score:
        """What decided which step of each network is kept."""
        return "dice" if any(one.validation_miou is None for one in self.folds) else "miou"
