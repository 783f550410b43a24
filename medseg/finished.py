"""What the last stages hand on: rules of post-processing, finished predictions, the report.

Artefacts as those of `medseg.artefacts`, in a file of their own, so that a change of theirs leaves
the keys of the stages before them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medseg.case import Split
from medseg.expected import Calibration, Clues, ExpectedDice

ALL_FOREGROUND = "*"
"""Stands for all structures together where a rule names its structure."""


@dataclass(frozen=True, kw_only=True)
class PostprocessRule:
    """What is done to one structure's mask; decided on out-of-fold predictions."""

    structure: str
    """Name, or `ALL_FOREGROUND` for the union of all structures, which is treated first."""
    keep_largest: bool = False
    min_volume_ml: float = 0.0
    fill_holes: bool = False
    dice_before: float | None = None
    dice_after: float | None = None
    reason: str = ""
    """Why it was adopted, or why nothing is done; empty for a rule of the config."""


@dataclass(frozen=True, kw_only=True)
class RuleScores:
    """Dice of one case under every candidate rule, by structure.

    One value per entry of `medseg.postprocess.candidates.CANDIDATES`.
    """

    plain: Mapping[str, tuple[float, ...]]
    """On the network's output."""
    after_foreground: Mapping[str, tuple[float, ...]]
    """On the largest piece of all foreground together."""


@dataclass(frozen=True, kw_only=True)
class SegmentedCase:
    """One finished prediction."""

    id: str
    split: Split
    fold: int | None
    file: Path
    """The prediction on the grid, orientation and size of the input, as the user gets it."""
    pred: Path
    """``.b2nd``: the same on the canonical grid, int16 class indices."""
    colour: Path | None = None
    """Of a photograph: PNG in the colours of the label table."""
    clues: Clues = field(default_factory=dict)
    """What the prediction itself tells of its quality, of the structures that are left in it."""
    expected: tuple[ExpectedDice, ...] = ()
    """Dice to expect of each structure; of a validation case without what its patient taught."""


@dataclass(frozen=True, kw_only=True)
class Segmentations:
    """Finished predictions, and the model folder that makes more of them."""

    cases: tuple[SegmentedCase, ...]
    rules: tuple[PostprocessRule, ...]
    model: Path
    calibrations: tuple[Calibration, ...] = ()
    """What clues are worth, per structure."""


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """What *report* wrote."""

    folder: Path
    metrics: Path
    summary: Path
    headline: Mapping[str, float]
    """``test/<metric>/<structure>`` and ``test/<metric>/mean``, as logged to MLflow."""
