"""The earlier run of a cascade: its predictions, each by networks that had not seen the case."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.artefacts import Dataset, IngestedCase, Predictions
from medseg.errors import ConfigError, StageError
from medseg.stages.context import Context
from medseg.stages.infer import bare_outputs
from medseg.trained import TrainedModel

KEY = "resample.previous"
SHOWN = 5
"""Cases that a message names."""


@dataclass(frozen=True, kw_only=True)
class PreviousRun:
    """A finished run, as far as the later one needs it."""

    run: Path
    dataset: Dataset
    model: TrainedModel
    predictions: Predictions


def previous_token(run: Path) -> str:
    """Return the key of a run's predictions, which is part of the key of what is made of them.

    Raises
    ------
    ConfigError
        If the folder is no run with predictions.
    """
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        return str(record["stages"]["infer"]["key"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{KEY}: {run} is no run folder with predictions; name one that is done, such as "
            "runs/ct_liver_low"
        ) from error


def read_previous(run: Path, context: Context) -> PreviousRun:
    """Read a finished run.

    Raises
    ------
    ConfigError
        If it is no run folder, or not finished.
    """
    from medseg.model_folder import read_model_folder

    previous_token(run)
    read_model_folder(run)  # it goes into the later run's model folder
    return PreviousRun(
        run=run,
        dataset=context.finished(run, "ingest", Dataset),
        model=context.finished(run, "train", TrainedModel),
        predictions=context.finished(run, "infer", Predictions),
    )


def unseen_predictions(dataset: Dataset, previous: PreviousRun) -> dict[str, Path]:
    """Return the earlier prediction of each case, made by networks that did not train on it.

    A network that has seen a case predicts it better than any new one. The later network would
    learn to trust predictions that it will never meet again.

    Parameters
    ----------
    dataset : Dataset
        Of the later run.
    previous : PreviousRun

    Returns
    -------
    dict of str to Path
        Case id to its class indices on the canonical grid. Test and unlabelled cases that the
        earlier run could not predict are left out.

    Raises
    ------
    ConfigError
        If the label tables differ.
    StageError
        If a training case has no prediction, a case or its split is another one than in the
        earlier run, or a network predicted a case that it had trained on.
    """
    if bare_outputs(previous.dataset.scheme) != bare_outputs(dataset.scheme):
        raise ConfigError(
            f"{KEY}: {previous.run} has another label table; train both runs with one manifest"
        )
    found = {one.id: one.pred for one in previous.predictions.cases}
    rows = {row.case.id: row for row in dataset.cases}
    lacking = [name for name, row in rows.items() if row.split == "train" and name not in found]
    if lacking:
        raise StageError(
            f"{KEY}: {previous.run} has no out-of-fold prediction of {len(lacking)} training "
            f"case(s) ({_some(lacking)}); run it with train.folds=all, and mend or exclude cases "
            "that it set aside"
        )
    before = {row.case.id: row for row in previous.dataset.cases}
    other = [name for name in found if name in rows and _facts(rows[name]) != _facts(before[name])]
    if other:
        raise StageError(
            f"{KEY}: in {previous.run} {len(other)} case(s) have another image, annotation, split "
            f"or fold ({_some(other)}); run it again with this manifest"
        )
    seen = [name for name in found if name in rows and _was_seen(rows[name], previous.model)]
    if seen:
        raise StageError(
            f"{KEY}: in {previous.run} {len(seen)} case(s) were predicted by a network that had "
            f"trained on them ({_some(seen)}); run it again from ingest (--force ingest)"
        )
    return {name: found[name] for name in rows if name in found}


def _facts(row: IngestedCase) -> tuple[str, str, int | None]:
    """Return what must be the same in both runs."""
    return row.digest, row.split, row.fold


def _was_seen(row: IngestedCase, model: TrainedModel) -> bool:
    """Whether a network that predicts a case has trained on it."""
    judges = [one for one in model.folds if row.split != "train" or one.fold == row.fold]
    return any(row.case.id in one.cases for one in judges)


def _some(names: Sequence[str]) -> str:
    """Name the first few."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
