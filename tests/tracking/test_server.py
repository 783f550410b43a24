"""A real ``mlflow server`` on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.settings import Tracking
from medseg.tracking import make_tracker
from medseg.tracking.mlflow_tracker import MlflowTracker
from tests.tracking.conftest import run_server
from tests.tracking.test_offline import CONFIG, TAGS, check, log_a_run, spooled_times


@pytest.mark.slow
def test_server_down_then_up_has_the_same_run(
    runs: Path, tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"http://127.0.0.1:{free_port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracker = make_tracker(Tracking(), runs, runs / "liver")
    assert isinstance(tracker, MlflowTracker)
    run = log_a_run(tracker, tmp_path / "report.html")
    times = spooled_times(tracker)
    assert run.startswith("offline-")
    assert len(times) == 5

    from mlflow import MlflowClient

    with run_server(runs, free_port):
        client = MlflowClient(uri)
        later = MlflowTracker(tracker.store, runs / "liver")
        real = later.start("liver", "first", CONFIG, TAGS, run)
        later.finish("FINISHED")
        assert real is not None
        assert check(client, real) == times

        model = tmp_path / "model"
        model.mkdir()
        (model / "model.json").write_text("{}")
        fresh = make_tracker(Tracking(), runs, runs / "other")
        second = log_a_run(fresh, tmp_path / "report.html")  # type: ignore[arg-type]
        fresh.log_model(model, input_shape=(1, 8, 8, 8))
        check(client, second)
        assert "model/MLmodel" in {a.path for a in client.list_artifacts(second, "model")}
    assert not (runs / "liver" / "tracking_spool.jsonl").exists()
    assert not (runs / "other" / "tracking_spool.jsonl").exists()
