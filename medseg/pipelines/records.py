"""What a run leaves beside its results: plan.yaml, run.json, and what goes to the tracker."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from medseg.artefacts import Dataset, Decision, Plan
from medseg.finished import ReportFiles, Segmentations
from medseg.identifiers import concealed
from medseg.manifest import Manifest
from medseg.pipelines.runfolder import now
from medseg.pipelines.store import read_json, write_text
from medseg.tracking import Tracker


def begin_record(experiment: str, asked: Sequence[str], before: dict[str, Any]) -> dict[str, Any]:
    """Return what ``run.json`` says of a run that begins, going on from one that was killed.

    Parameters
    ----------
    experiment : str
        Its name.
    asked : sequence of str
        Stages that are to be computed anew.
    before : dict
        The record that the last run left; empty where there was none.
    """
    killed = before.get("status") in ("running", "interrupted")
    recompute = before.get("recompute", {})
    if not killed or recompute.get("asked") != asked:
        recompute = {"asked": asked, "begun": {}, "done": []}
    unfinished = before.get("status", "done") != "done"
    return {
        "experiment": experiment,
        "status": "running",
        "started": before.get("started", now()) if killed else now(),
        "stages": {},
        "set_aside": [],
        "data": before.get("data", {}),
        "mlflow": before.get("mlflow", {}) if unfinished else {},
        "recompute": recompute,
        "before": before,
    }


def write_config(path: Path, resolved: Mapping[str, Any]) -> None:
    """Write ``config.yaml``: the config with every default written out."""
    head = "# The config of this run as resolved; it runs as it stands.\n"
    write_text(path, head + yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True))


def write_plan(path: Path, decisions: tuple[Decision, ...]) -> None:
    """Write ``plan.yaml``: per key what it became, the rule and the data that decided."""
    rows = {
        one.key: {"value": to_jsonable_python(one.value), "rule": one.rule, "data": one.data}
        for one in decisions
    }
    head = "# What every `auto` became, by which rule, from which data.\n"
    write_text(path, head + yaml.safe_dump(rows, sort_keys=False, allow_unicode=True))


def keep_traceback(file: Path, text: str) -> str:
    """Write the traceback of an error, and say where it is or why it is not.

    Nothing is raised where it cannot be written (a full disk): the error itself is what matters.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(concealed(text), encoding="utf-8")
    except OSError as second:
        return f"no traceback could be written ({concealed(str(second))})"
    return f"traceback in {file}"


def track(
    artefact: Any, tracker: Tracker, run_dir: Path, plan: Plan | None, manifest: Manifest | None
) -> None:
    """Hand to the tracker what an artefact is worth there, once it is published."""
    if isinstance(artefact, Dataset):
        splits = Counter[str](case.split for case in artefact.cases)
        source = concealed(str(manifest.root)) if manifest else artefact.info.name
        tracker.log_dataset(artefact.info.name, artefact.info.digest, splits, source)
        tracker.set_tags({"data_origin": artefact.info.origin})
    elif isinstance(artefact, Plan):
        tracker.log_artifacts(run_dir / "plan.yaml")
    elif isinstance(artefact, Segmentations) and plan is not None:
        shape = (len(plan.normalization), *plan.patch_size)
        tracker.log_model(run_dir / "model", input_shape=shape)
    elif isinstance(artefact, ReportFiles):
        tracker.log_metrics({**artefact.headline, **validation_metrics(run_dir / "report")}, 0)
        tracker.log_artifacts(run_dir / "report", "report")


def validation_metrics(report: Path) -> dict[str, float]:
    """Return ``validation/<metric>/<label>`` and their mean: of every fold, each out of its fold.

    The ``val/...`` of training are one network's, by step; these are the report's, by case.
    """
    splits = read_json(report / "summary.json").get("splits", {})
    labels = splits.get("validation", {}).get("labels", {})
    means: dict[str, dict[str, float]] = {}
    for label, entry in labels.items():
        for metric, values in entry["metrics"].items():
            if values["mean"] is not None:
                means.setdefault(metric, {})[label] = values["mean"]
    found = {f"validation/{m}/{label}": v for m, row in means.items() for label, v in row.items()}
    over = {f"validation/{m}/mean": sum(row.values()) / len(row) for m, row in means.items()}
    return found | over


def decisions_of(artefact: Any) -> tuple[Decision, ...] | None:
    """Return an artefact's decisions, where it has any."""
    if dataclasses.is_dataclass(artefact) and not isinstance(artefact, type):
        found = getattr(artefact, "decisions", None)
        if isinstance(found, tuple) and all(isinstance(one, Decision) for one in found):
            return found
    return None
