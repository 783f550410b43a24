"""A store that is down: nothing stops, nothing is lost."""

from __future__ import annotations

import logging
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from medseg.tracking.mlflow_tracker import MlflowTracker
from medseg.tracking.store import Store

CONFIG = {"train": {"lr": 0.01}}
TAGS = {"device": "cpu", "data_origin": "real"}


@pytest.fixture
def broken(runs: Path) -> Store:
    """A store whose database file is not one."""
    database = runs / "later.db"
    database.write_bytes(b"this is no database" * 100)
    return Store(uri=f"sqlite:///{database}", artifact_root=runs / "mlartifacts")


def log_a_run(tracker: MlflowTracker, report: Path, run: str | None = None) -> str:
    """Log a small run, as the runner does."""
    given = tracker.start("liver", "first", CONFIG, TAGS, run)
    assert given is not None
    tracker.log_dataset("hippocampus", "abc", {"train": 4}, "data/Task04")
    with tracker.stage("train", key="k"):
        for step in range(5):
            tracker.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
    report.write_text("<p>cohort</p>")
    tracker.log_artifacts(report, "report")
    tracker.finish("FINISHED")
    return given


def spooled_times(tracker: MlflowTracker) -> list[int]:
    return [r["time"] for _, r in tracker.spool.read() if "train/loss" in r.get("metrics", {})]


def check(client: Any, run: str) -> list[int]:
    """Check that the store has all of `log_a_run`; return the times of its metrics."""
    found = client.get_run(run)
    assert found.data.params == {"train.lr": "0.01"}
    assert found.data.tags["data_origin"] == "real"
    assert found.info.status == "FINISHED"
    rows = client.get_metric_history(run, "train/loss")
    assert [(m.step, m.value) for m in rows] == [(i, 1.0 / (i + 1)) for i in range(5)]
    assert [a.path for a in client.list_artifacts(run, "report")] == ["report/report.html"]
    assert found.inputs.dataset_inputs[0].dataset.name == "hippocampus/train"
    stages = client.search_runs([found.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run}'")
    assert [(s.info.run_name, s.info.status) for s in stages] == [("train", "FINISHED")]
    return [m.timestamp for m in rows]


def test_run_survives_with_one_warning(
    broken: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = MlflowTracker(broken, tmp_path / "run")
    with caplog.at_level(logging.INFO):
        run = log_a_run(tracker, tmp_path / "report.html")
    assert run.startswith("offline-")
    assert len(caplog.records) == 1
    message = caplog.records[0]
    assert message.levelno == logging.WARNING
    assert message.exc_info is None
    assert "the run goes on, its records wait in" in message.getMessage()
    assert str(tracker.spool.path) in message.getMessage()
    assert tracker.spool.path.name == "tracking_spool.jsonl"
    assert len(spooled_times(tracker)) == 5


def test_next_start_delivers_what_waited(
    broken: Store, template: Path, tmp_path: Path, client: Any
) -> None:
    from mlflow import MlflowClient

    tracker = MlflowTracker(broken, tmp_path / "run")
    run = log_a_run(tracker, tmp_path / "report.html")
    times = spooled_times(tracker)
    shutil.copy(template, broken.uri.removeprefix("sqlite:///"))
    later = MlflowTracker(broken, tmp_path / "run")
    real = later.start("liver", "first", CONFIG, TAGS, run)
    later.finish("FINISHED")
    assert real is not None
    assert not real.startswith("offline-")
    assert check(MlflowClient(broken.uri), real) == times
    assert not tracker.spool.path.exists()


def test_a_run_with_nothing_to_do_delivers_too(
    broken: Store, template: Path, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    tracker = MlflowTracker(broken, tmp_path / "run")
    run = log_a_run(tracker, tmp_path / "report.html")
    shutil.copy(template, broken.uri.removeprefix("sqlite:///"))
    MlflowTracker(broken, tmp_path / "run").replay()
    client = MlflowClient(broken.uri)
    experiment = client.get_experiment_by_name("liver").experiment_id
    (found,) = client.search_runs([experiment], f"tags.`medseg.id` = '{run}'")
    check(client, found.info.run_id)
    assert found.info.run_id == MlflowTracker(broken, tmp_path / "run").start(
        "liver", "first", CONFIG, TAGS, run
    )


def test_store_that_comes_back_during_the_run(
    broken: Store, template: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    tracker = MlflowTracker(broken, tmp_path / "run")
    run = tracker.start("liver", "first", CONFIG, TAGS)
    tracker.log_metrics({"train/loss": 1.0}, 0)
    shutil.copy(template, broken.uri.removeprefix("sqlite:///"))
    assert not tracker.flush()  # not asked again at once
    with caplog.at_level(logging.INFO, logger="medseg"):
        assert tracker.flush(force=True)
    assert "is back and has all records" in caplog.text
    assert tracker.run_id != run
    tracker.log_metrics({"train/loss": 0.5}, 1)
    tracker.finish("FINISHED")
    rows = MlflowClient(broken.uri).get_metric_history(tracker.run_id, "train/loss")
    assert [(m.step, m.value) for m in rows] == [(0, 1.0), (1, 0.5)]


def test_delivery_cut_short_is_taken_up_without_doubles(
    tracker: MlflowTracker, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store fails at each record in turn, before or after it has taken it."""
    from medseg.tracking.deliver import Delivery

    tracker.flush(force=True)
    assert tracker._delivery is not None
    apply, seen = Delivery.apply, 0

    def fail_once_each(self: Delivery, record: dict[str, Any]) -> None:
        nonlocal seen
        seen += record["op"] != "ids"
        if seen % 3 == 1 and record["op"] != "ids":
            raise ConnectionError("before")
        apply(self, record)
        if seen % 3 == 2 and record["op"] != "ids":
            raise ConnectionError("after")

    monkeypatch.setattr(Delivery, "apply", fail_once_each)
    log_a_run(tracker, tmp_path / "report.html")
    for _ in range(40):
        tracker.flush(force=True)
        tracker._delivery.ids.clear()  # as after a kill, when only the spool is left
    assert not tracker.spool.path.exists()
    experiment = client.get_experiment_by_name("liver").experiment_id
    found = client.search_runs([experiment])
    assert len(found) == 2
    (parent,) = (r for r in found if "mlflow.parentRunId" not in r.data.tags)
    check(client, parent.info.run_id)


def test_server_that_refuses_connections_is_given_up_quickly(
    tmp_path: Path, free_port: int
) -> None:
    tracker = MlflowTracker(Store(uri=f"http://127.0.0.1:{free_port}"), tmp_path / "run")
    began = time.monotonic()
    log_a_run(tracker, tmp_path / "report.html")
    assert time.monotonic() - began < 30


def test_server_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        tracker = MlflowTracker(Store(uri=uri), tmp_path / "run")
        began = time.monotonic()
        log_a_run(tracker, tmp_path / "report.html")  # asked twice: at start and at finish
        assert time.monotonic() - began < 30
    assert tracker.spool.path.exists()


def test_run_folder_that_cannot_be_written(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("a file where the run folder should be")
    tracker = MlflowTracker(store, tmp_path / "run")
    log_a_run(tracker, tmp_path / "report.html")
    assert "cannot keep a tracking record" in caplog.text
