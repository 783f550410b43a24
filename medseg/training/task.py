"""What a training is given and what it yields; picklable, so that further processes can have it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from medseg.artefacts import PatchIndex, Plan, ResampledCase
from medseg.errors import StageError
from medseg.training.cycles import SelfCorrection
from medseg.training.schedule import Budget, Shape

Decay = float | Literal["auto"]
"""Of the running average of weights; see `medseg.training.ema.decay_at`."""

Arithmetic = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to fit; see `medseg.stages.train.Train` for the fields. Nothing here is ``auto``."""

    budget: Budget
    batch_size: int
    """Per device."""
    loss: dict[str, Any] | list[dict[str, Any]] = field(default_factory=lambda: {"name": "dice_ce"})
    optimizer: Literal["muon", "adamw", "sgd"] = "muon"
    lr: float = 4e-3
    encoder_lr: float = 1.0
    """Learning rate of the network's encoder, as a share of ``lr``."""
    momentum: float | None = None
    """None: the optimiser's usual one."""
    weight_decay: float = 3e-5
    schedule: Shape = "cosine"
    precision: Arithmetic = "32-true"
    augment: dict[str, Any] = field(default_factory=dict)
    ema: Decay = 0.0
    self_correction: SelfCorrection | None = None
    hard_cases: bool = False
    score: Literal["dice", "miou"] = "dice"
    """What decides which step is the best; see `medseg.training.validation.choose_score`."""
    compile: bool | Literal["auto"] = "auto"
    validations: int = 10
    checkpoint_every: Budget = field(default_factory=lambda: Budget(seconds=60.0))
    gradient_clip: float = 12.0
    sync_batchnorm: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Start:
    """Weights that a training begins from."""

    file: Path
    inflate: bool = False
    """Spread 2-D kernels over the third axis of a 3-D network."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One training."""

    recipe: Recipe
    plan: Plan
    patches: PatchIndex
    train: tuple[ResampledCase, ...]
    validation: tuple[ResampledCase, ...]
    folder: Path
    """Where checkpoints, the history and the weights go; a killed training is resumed from it."""
    start: Start | None = None
    """None: random weights."""


class Monitor(Protocol):
    """Who is told how a training goes."""

    def advance(self, amount: float, note: str) -> None:
        """Move on by ``amount`` of the budget, in its own unit."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Take metrics, named as the tracker names them."""


def split_fold(
    cases: tuple[ResampledCase, ...], fold: int, located: Collection[str]
) -> tuple[tuple[ResampledCase, ...], tuple[ResampledCase, ...]]:
    """Return the annotated training cases outside of a fold, and those in it.

    Parameters
    ----------
    cases : tuple of ResampledCase
    fold : int
    located : collection of str
        Ids of the cases that patches can be drawn from; the others were set aside.

    Raises
    ------
    StageError
        If either is empty.
    """
    usable = [c for c in cases if c.split == "train" and c.label is not None]
    train = tuple(c for c in usable if c.fold != fold and c.id in located)
    validation = tuple(c for c in usable if c.fold == fold)
    folds = sorted({c.fold for c in usable if c.fold is not None})
    if not validation:
        known = f"the folds are {', '.join(map(str, folds))}" if folds else "no case has a fold"
        raise StageError(
            f"train: fold {fold} has no annotated case to validate on; {known}: set train.folds to "
            "those you want, or 'splits.folds' in the manifest"
        )
    if not train:
        raise StageError(
            f"train: no annotated case is left to train on: {len(validation)} are in fold {fold}, "
            f"{len(usable) - len(validation)} others have no patches; add cases, or set "
            "'splits.folds' to 2 or more and 'splits.test' lower in the manifest"
        )
    return train, validation
