"""Which folds a training asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from medseg.artefacts import Dataset, ResampledCase
from medseg.errors import ConfigError, StageError

Folds = int | list[int] | Literal["all"]


def check_folds(folds: Folds) -> None:
    """Refuse negative, repeated and missing fold numbers."""
    if folds == "all":
        return
    numbers = [folds] if isinstance(folds, int) else folds
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise ConfigError(
            f"train.folds is {folds}; it must be all, a fold's number (0 or more), or a list of "
            "different ones such as [0, 1, 2]"
        )


def check_there(folds: Folds, dataset: Dataset) -> None:
    """Refuse folds that the division of the cases does not have, before anything is resampled."""
    there = {row.fold for row in dataset.cases if row.split == "train" and row.fold is not None}
    asked = () if folds == "all" else (folds,) if isinstance(folds, int) else folds
    missing = [str(fold) for fold in asked if fold not in there]
    if there and missing:
        known = ", ".join(map(str, sorted(there)))
        raise ConfigError(
            f"train.folds: there is no fold {', '.join(missing)}; the folds are {known} "
            "('splits.folds' in the manifest says how many)"
        )


def chosen_folds(folds: Folds, cases: Sequence[ResampledCase]) -> tuple[int, ...]:
    """Return the numbers of the folds to train, in order.

    Raises
    ------
    StageError
        If all are asked for and no case has one.
    """
    if isinstance(folds, int):
        return (folds,)
    if folds != "all":
        return tuple(sorted(folds))
    found = sorted({c.fold for c in cases if c.fold is not None})
    if not found:
        raise StageError(
            "train: no annotated case has a fold, so train.folds=all names none; set "
            "'splits.folds' in the manifest to 2 or more"
        )
    return tuple(found)
