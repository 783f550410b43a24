"""What a run leaves beside its results: plan.yaml, run.json, and what goes to the tracker."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from medseg.artefacts import Dataset, Decision, Plan
from medseg.finished import ReportFiles, Segmentations
from medseg.manifest import Manifest
from medseg.pipelines.store import write_text
from medseg.tracking import Tracker


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


def track(
    artefact: Any, tracker: Tracker, run_dir: Path, plan: Plan | None, manifest: Manifest | None
) -> None:
    """Hand to the tracker what an artefact is worth there, once it is published."""
    if isinstance(artefact, Dataset):
        splits = Counter[str](case.split for case in artefact.cases)
        source = str(manifest.root) if manifest else artefact.info.name
        tracker.log_dataset(artefact.info.name, artefact.info.digest, splits, source)
        tracker.set_tags({"data_origin": artefact.info.origin})
    elif isinstance(artefact, Plan):
        tracker.log_artifacts(run_dir / "plan.yaml")
    elif isinstance(artefact, Segmentations) and plan is not None:
        shape = (len(plan.normalization), *plan.patch_size)
        tracker.log_model(run_dir / "model", input_shape=shape)
    elif isinstance(artefact, ReportFiles):
        tracker.log_metrics(artefact.headline, 0)
        tracker.log_artifacts(run_dir / "report", "report")


def decisions_of(artefact: Any) -> tuple[Decision, ...] | None:
    """Return an artefact's decisions, where it has any."""
    if dataclasses.is_dataclass(artefact) and not isinstance(artefact, type):
        found = getattr(artefact, "decisions", None)
        if isinstance(found, tuple) and all(isinstance(one, Decision) for one in found):
            return found
    return None
