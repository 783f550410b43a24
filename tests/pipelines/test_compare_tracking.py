"""`medseg compare` and MLflow: runs by their id, and a comparison that is logged."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.pipelines.metric_tables import A, B, compare, table, write


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_runs_come_from_mlflow_and_the_comparison_goes_there() -> None:
    from medseg.tracking.mlflow_tracker import MlflowTracker
    from medseg.tracking.store import asking, locate_store

    store = locate_store(None, Path("runs"))
    ids = []
    for name, values in (("a", A), ("b", B)):
        run = write(f"runs/{name}", {"dice": values})
        tracker = MlflowTracker(store, run)
        tracker.start("liver", name, {"name": name}, {})
        tracker.log_artifacts(run / "report", "report")
        tracker.finish("FINISHED")
        ids.append(str(tracker.run_id))
    assert compare(*ids) == 0
    assert float(table()["b", "liver", "dice"]["p"]) == 0.03125
    with asking():
        from mlflow import MlflowClient

        client = MlflowClient(store.uri)
        experiment = client.get_experiment_by_name("comparison")
        (logged,) = client.search_runs([experiment.experiment_id])
        files = {entry.path for entry in client.list_artifacts(logged.info.run_id, "comparison")}
    assert logged.data.metrics["run_1/mean_difference/dice/liver"] == pytest.approx(0.03375)
    assert logged.data.tags["kind"] == "comparison"
    assert files == {f"comparison/comparison.{kind}" for kind in ("csv", "html", "json")}
    assert compare(ids[0], "f" * 32) == 2


def test_a_store_that_is_down_costs_the_log_and_not_the_report(
    free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a", {"dice": A})
    write("b", {"dice": B})
    assert compare("a", "b", "--uri", f"http://127.0.0.1:{free_port}", "--quiet") == 0
    assert "the comparison is not logged; repeat the command" in capsys.readouterr().err
    assert len(list(Path("comparison").iterdir())) == 3
    assert compare("a", "b", "--no-tracking") == 0


def test_a_store_that_is_not_there_is_not_created() -> None:
    write("a", {"dice": A})
    write("b", {"dice": B})
    assert compare("a", "b") == 0
    assert not Path("runs").exists()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
