from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medseg.settings import Tracking
from medseg.tracking import NullTracker, Tracker, make_tracker
from medseg.tracking.mlflow_tracker import MlflowTracker


def test_importing_loads_no_mlflow() -> None:
    code = (
        "import sys, medseg.tracking, medseg.tracking.mlflow_tracker;"
        "print([m for m in ('mlflow', 'sqlalchemy', 'torch') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr


def test_tracking_off_takes_everything_and_leaves_nothing(tmp_path: Path) -> None:
    tracker: Tracker = make_tracker(Tracking(enabled=False), tmp_path, tmp_path / "run")
    assert isinstance(tracker, NullTracker)
    assert tracker.start("a", "b", {"c": 1}, {"d": "e"}, "f") is None
    with pytest.raises(ValueError, match="boom"), tracker.stage("train", key="k"):
        raise ValueError("boom")
    tracker.log_metrics({"a": 1.0}, 0)
    tracker.log_dataset("a", "b", {"train": 1}, "c")
    tracker.log_artifacts(tmp_path, "a")
    tracker.log_model(tmp_path, input_shape=(1, 8, 8))
    tracker.set_tags({"a": "b"})
    tracker.replay()
    tracker.finish("FINISHED")
    assert tracker.run_id is None
    assert tracker.where == "off"
    assert list(tmp_path.iterdir()) == []


def test_store_beside_the_runs_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    tracker = make_tracker(Tracking(), Path("runs"), Path("runs/liver"))
    assert isinstance(tracker, MlflowTracker)
    assert tracker.where == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert tracker.store.artifact_root == tmp_path / "runs" / "mlartifacts"
    assert list(tmp_path.iterdir()) == []  # nothing is opened before the start


def test_uri_of_the_config_goes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from-environment:5000")
    assert make_tracker(Tracking(), tmp_path, tmp_path).where == "http://from-environment:5000"
    given = Tracking(uri="http://from-config:5000")
    assert make_tracker(given, tmp_path, tmp_path).where == "http://from-config:5000"


def test_password_is_not_shown(tmp_path: Path) -> None:
    tracker = make_tracker(Tracking(uri="https://me:secret@host/x"), tmp_path, tmp_path)
    assert tracker.where == "https://me:***@host/x"
