"""plan.yaml, config.yaml, and what the tracker is given of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.artefacts import Decision
from medseg.finished import ReportFiles
from medseg.pipelines.options import Options
from medseg.pipelines.records import decisions_of, track, write_config, write_plan
from medseg.pipelines.runner import Runner
from medseg.settings import Tracking
from medseg.tracking import NullTracker
from tests.pipelines.toys import Squares, toy_experiment


class Notes(NullTracker):
    """Notes what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.run_id = "id-1"

    def start(self, *words: Any) -> str | None:
        self.calls.append(("start", *words))
        return "id-1"

    def log_metrics(self, metrics: Any, step: int) -> None:
        self.calls.append(("metrics", dict(metrics)))

    def log_artifacts(self, path: Path, artifact_path: str = "") -> None:
        self.calls.append(("artifacts", path.name, artifact_path))

    def finish(self, status: str) -> None:
        self.calls.append(("finish", status))


def test_plan_holds_value_rule_and_data(tmp_path: Path) -> None:
    one = Decision(key="resample.spacing", value=(1.0, 2.5), rule="median", data="3 cases")
    write_plan(tmp_path / "plan.yaml", (one,))
    assert yaml.safe_load((tmp_path / "plan.yaml").read_text()) == {
        "resample.spacing": {"value": [1.0, 2.5], "rule": "median", "data": "3 cases"}
    }


def test_config_comes_back(tmp_path: Path) -> None:
    write_config(tmp_path / "config.yaml", {"experiment": "x", "train": {"lr": 1e-3}})
    back = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert back == {"experiment": "x", "train": {"lr": 1e-3}}


def test_decisions_are_found_where_there_are_any() -> None:
    assert decisions_of(Squares(cases={}, decisions=())) == ()
    assert decisions_of(3) is None
    assert decisions_of(Decision(key="a", value=1, rule="b", data="c")) is None


def test_the_report_brings_metrics_and_files(tmp_path: Path) -> None:
    notes = Notes()
    files = ReportFiles(
        folder=tmp_path, metrics=tmp_path, summary=tmp_path, headline={"test/dice/mean": 0.9}
    )
    track(files, notes, tmp_path, None, None)
    assert notes.calls == [("metrics", {"test/dice/mean": 0.9}), ("artifacts", "report", "report")]


def test_a_killed_run_goes_on_in_its_record_and_a_finished_one_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_text("2")
    notes = Notes()
    monkeypatch.setattr("medseg.pipelines.runner.make_tracker", lambda *args: notes)
    experiment = replace(toy_experiment(source), tracking=Tracking(enabled=True))

    def run(**options: Any) -> None:
        Runner(experiment, Options(runs_dir=tmp_path / "runs", **options)).run()

    monkeypatch.setattr("tests.pipelines.toys.Add.run", _stop)
    run()
    assert notes.calls[0][1] == "toy"
    assert notes.calls[0][-1] is None  # no earlier run to resume
    assert notes.calls[-1] == ("finish", "KILLED")
    monkeypatch.undo()
    monkeypatch.setattr("medseg.pipelines.runner.make_tracker", lambda *args: notes)
    notes.calls.clear()
    run()
    assert notes.calls[0][-1] == "id-1"
    assert notes.calls[-1] == ("finish", "FINISHED")
    notes.calls.clear()
    run()
    assert notes.calls == []
    run(force=("add",))
    assert notes.calls[0][-1] is None  # a new run, the last one was finished


def _stop(self: Any, squares: Squares, context: Any) -> Squares:
    raise KeyboardInterrupt


def test_the_cases_of_all_folds_are_logged_beside_the_headline(tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.mkdir()
    liver = {"metrics": {"dice": {"mean": 0.9}, "hd95_mm": {"mean": None}}}
    tumour = {"metrics": {"dice": {"mean": 0.5}, "hd95_mm": {"mean": 8.0}}}
    splits = {"validation": {"labels": {"liver": liver, "tumour": tumour}}}
    (report / "summary.json").write_text(json.dumps({"splits": splits}))
    tracker = Notes()
    files = ReportFiles(
        folder=report,
        metrics=report / "metrics.csv",
        summary=report / "summary.json",
        headline={"test/dice/mean": 1},
    )
    track(files, tracker, tmp_path, None, None)
    assert tracker.calls[0] == (
        "metrics",
        {
            "test/dice/mean": 1,
            "validation/dice/liver": 0.9,
            "validation/dice/tumour": 0.5,
            "validation/dice/mean": pytest.approx(0.7),
            "validation/hd95_mm/tumour": 8.0,
            "validation/hd95_mm/mean": 8.0,
        },
    )
