from __future__ import annotations

import json
import logging
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medseg.tracking.mlflow_tracker import MlflowTracker
from medseg.tracking.store import Store

TAGS = {"device": "cpu", "data_origin": "SYNTHETIC"}
CONFIG = {"experiment": "liver", "train": {"lr": 0.01, "loss": {"name": "dice_ce"}}}


def begin(tracker: MlflowTracker, **more: Any) -> str:
    run = tracker.start("liver", "first", {**CONFIG, **more}, TAGS)
    assert run is not None
    return run


def children(client: Any, run: str) -> dict[str, Any]:
    experiment = client.get_run(run).info.experiment_id
    found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run}'")
    return {child.info.run_name: child for child in found}


def history(client: Any, run: str, key: str) -> list[tuple[int, float, int]]:
    return [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run, key)]


def test_params_are_the_flattened_config(tracker: MlflowTracker, client: Any) -> None:
    found = client.get_run(begin(tracker))
    assert found.data.params == {
        "experiment": "liver",
        "train.lr": "0.01",
        "train.loss.name": "dice_ce",
    }
    assert found.info.run_name == "first"
    assert client.get_experiment(found.info.experiment_id).name == "liver"


def test_more_params_than_one_request_holds(tracker: MlflowTracker, client: Any) -> None:
    run = begin(tracker, many={f"k{i:03d}": i for i in range(250)})
    assert len(client.get_run(run).data.params) == 253


def test_long_values_go_to_an_artifact(tracker: MlflowTracker, client: Any, tmp_path: Path) -> None:
    run = begin(tracker, short="s" * 6000, long="l" * 6001)
    params = client.get_run(run).data.params
    assert params["short"] == "s" * 6000
    assert "long" not in params
    file = client.download_artifacts(run, "config/params_long.json", str(tmp_path))
    assert json.loads(Path(file).read_text()) == {"long": "l" * 6001}


def test_tags_say_device_origin_and_version(tracker: MlflowTracker, client: Any) -> None:
    tags = client.get_run(begin(tracker)).data.tags
    assert tags["device"] == "cpu"
    assert tags["data_origin"] == "SYNTHETIC"
    assert tags["medseg_version"]
    assert "git_commit" not in tags  # the working folder is no repository


def test_tag_of_the_git_commit(
    tracker: MlflowTracker, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(repository), *arguments], check=True)
    (repository / "new.txt").write_text("not yet added")
    monkeypatch.chdir(repository)
    tags = client.get_run(begin(tracker)).data.tags
    head = (repository / ".git" / "HEAD").read_text().split()[-1]
    assert tags["git_commit"] == (repository / ".git" / head).read_text().strip()
    assert tags["git_dirty"] == "true"


def test_metrics_keep_names_steps_and_order(tracker: MlflowTracker, client: Any) -> None:
    run = begin(tracker)
    for step in range(1500):  # more than one request holds
        tracker.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
    tracker.log_metrics({"val/dice/tumour (core)": 0.5, "val/dice/liver": math.nan}, 7)
    tracker.finish("FINISHED")
    rows = history(client, run, "train/loss")
    assert [(step, value) for step, value, _ in rows] == [(i, 1.0 / (i + 1)) for i in range(1500)]
    last = client.get_run(run)
    assert last.data.metrics["val/dice/tumour _core_"] == 0.5
    assert math.isnan(last.data.metrics["val/dice/liver"])
    assert last.info.status == "FINISHED"


def test_metrics_are_sent_in_batches(
    tracker: MlflowTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tracker)
    assert tracker._delivery is not None
    requests: list[int] = []
    send = tracker._delivery.client.log_batch

    def count(run: str, metrics: Any = (), **rest: Any) -> None:
        requests.append(len(metrics))
        send(run, metrics=metrics, **rest)

    monkeypatch.setattr(tracker._delivery.client, "log_batch", count)
    for step in range(300):
        tracker.log_metrics({"train/loss": 0.1, "train/loss/dice": 0.2, "train/lr": 0.3}, step)
    assert requests == []
    tracker.flush()
    assert requests == [900]


def test_each_stage_is_a_nested_run(tracker: MlflowTracker, client: Any) -> None:
    run = begin(tracker)
    with tracker.stage("ingest", key="abc123"):
        pass
    with pytest.raises(ValueError, match="boom"), tracker.stage("plan"):
        raise ValueError("boom")
    with pytest.raises(KeyboardInterrupt), tracker.stage("train"):
        raise KeyboardInterrupt
    tracker.finish("KILLED")
    stages = children(client, run)
    assert {name: stage.info.status for name, stage in stages.items()} == {
        "ingest": "FINISHED",
        "plan": "FAILED",
        "train": "KILLED",
    }
    assert stages["ingest"].data.tags["key"] == "abc123"
    assert 0 <= stages["ingest"].data.metrics["seconds"] < 60
    parent = client.get_run(run)
    assert parent.info.status == "KILLED"
    assert parent.data.metrics["system/seconds/ingest"] == stages["ingest"].data.metrics["seconds"]


def test_metrics_in_a_stage_belong_to_the_run(tracker: MlflowTracker, client: Any) -> None:
    run = begin(tracker)
    with tracker.stage("train"):
        tracker.log_metrics({"train/loss": 0.25}, 3)
    assert [(s, v) for s, v, _ in history(client, run, "train/loss")] == [(3, 0.25)]
    assert "train/loss" not in children(client, run)["train"].data.metrics


def test_dataset_per_split(tracker: MlflowTracker, client: Any) -> None:
    run = begin(tracker)
    tracker.log_dataset("hippocampus", "d" * 64, {"train": 208, "test": 52}, "data/Task04")
    tracker.finish("FINISHED")
    found = client.get_run(run)
    rows = {
        (i.dataset.name, i.tags[0].value, json.loads(i.dataset.profile)["cases"], i.dataset.digest)
        for i in found.inputs.dataset_inputs
    }
    assert rows == {
        ("hippocampus/train", "train", 208, "d" * 36),
        ("hippocampus/test", "test", 52, "d" * 36),
    }
    assert found.data.tags["data"] == "hippocampus"
    assert found.data.tags["data_digest"] == "d" * 64


def test_files_and_folders_become_artifacts(
    tracker: MlflowTracker, client: Any, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    (report / "cases").mkdir(parents=True)
    (report / "index.html").write_text("<p>cohort</p>")
    (report / "cases" / "a.html").write_text("<p>a</p>")
    (tmp_path / "config.yaml").write_text("experiment: liver\n")
    run = begin(tracker)
    tracker.log_artifacts(tmp_path / "config.yaml")
    tracker.log_artifacts(report, "report")
    tracker.finish("FINISHED")
    assert {a.path for a in client.list_artifacts(run)} == {"config.yaml", "report"}
    page = client.download_artifacts(run, "report/cases/a.html", str(tmp_path))
    assert Path(page).read_text() == "<p>a</p>"


def test_artifacts_lie_beside_the_runs_and_nowhere_else(tracker: MlflowTracker, runs: Path) -> None:
    begin(tracker, long="l" * 7000)
    assert list((runs / "mlartifacts" / "liver").rglob("params_long.json"))
    assert sorted(p.name for p in runs.parent.iterdir()) == ["runs"]


def test_resumed_run_goes_on(tracker: MlflowTracker, client: Any, store: Store) -> None:
    run = begin(tracker)
    tracker.log_metrics({"train/loss": 1.0}, 1)
    opened = tracker.stage("train")
    opened.__enter__()  # killed in this stage: neither the stage nor the run is closed
    again = MlflowTracker(store, tracker.run_dir)
    assert again.start("liver", "first", {**CONFIG, "device": "cuda"}, TAGS, run) == run
    assert children(client, run)["train"].info.status == "KILLED"
    again.log_metrics({"train/loss": 0.5}, 2)
    again.finish("FINISHED")
    assert [(s, v) for s, v, _ in history(client, run, "train/loss")] == [(1, 1.0), (2, 0.5)]
    experiment = client.get_run(run).info.experiment_id
    own = [r for r in client.search_runs([experiment]) if "mlflow.parentRunId" not in r.data.tags]
    assert [r.info.run_id for r in own] == [run]


def test_metrics_not_yet_sent_when_killed_are_sent_on_resume(
    tracker: MlflowTracker, client: Any, store: Store
) -> None:
    run = begin(tracker)
    tracker.log_metrics({"train/loss": 1.0}, 1)
    assert history(client, run, "train/loss") == []
    MlflowTracker(store, tracker.run_dir).start("liver", "first", CONFIG, TAGS, run)
    assert [(s, v) for s, v, _ in history(client, run, "train/loss")] == [(1, 1.0)]


def test_changed_config_on_resume_is_kept_apart(
    tracker: MlflowTracker, client: Any, store: Store, tmp_path: Path
) -> None:
    run = begin(tracker)
    again = MlflowTracker(store, tracker.run_dir)
    again.start("liver", "first", {**CONFIG, "train": {"lr": 0.5}}, TAGS, run)
    found = client.get_run(run)
    assert found.data.params["train.lr"] == "0.01"
    assert found.data.tags["params_changed"] == "train.lr"
    file = client.download_artifacts(run, "config/params_changed.json", str(tmp_path))
    assert json.loads(Path(file).read_text()) == {"train.lr": "0.5"}


def test_finished_run_with_another_config_is_left_alone(
    tracker: MlflowTracker, client: Any, store: Store
) -> None:
    run = begin(tracker)
    tracker.finish("FINISHED")
    again = MlflowTracker(store, tracker.run_dir)
    other = again.start("liver", "second", {**CONFIG, "train": {"lr": 0.5}}, TAGS, run)
    again.finish("FINISHED")
    assert other not in (None, run)
    assert client.get_run(run).data.params["train.lr"] == "0.01"
    assert client.get_run(other).data.params["train.lr"] == "0.5"


@pytest.mark.parametrize("more", [{}, {"compute": {"workers": 2}}])
def test_finished_run_with_the_same_config_goes_on(
    tracker: MlflowTracker, store: Store, more: dict[str, Any]
) -> None:
    run = begin(tracker, compute={"workers": 1})
    tracker.finish("FINISHED")
    again = MlflowTracker(store, tracker.run_dir)
    config = {**CONFIG, "compute": {"workers": 1}, **more}
    assert again.start("liver", "second", config, TAGS, run) == run


def test_run_that_the_store_lost_is_begun_anew_once(
    tracker: MlflowTracker, client: Any, store: Store
) -> None:
    gone = "0" * 32
    first = tracker.start("liver", "first", CONFIG, TAGS, gone)
    assert first not in (None, gone)
    assert client.get_run(first).data.params["train.lr"] == "0.01"
    again = MlflowTracker(store, tracker.run_dir)
    assert again.start("liver", "first", CONFIG, TAGS, gone) == first


def test_run_in_the_bin_is_begun_anew(tracker: MlflowTracker, client: Any, store: Store) -> None:
    run = begin(tracker)
    client.delete_run(run)
    again = MlflowTracker(store, tracker.run_dir)
    assert again.start("liver", "first", CONFIG, TAGS, run) != run


def test_experiment_in_the_bin_comes_back(
    tracker: MlflowTracker, client: Any, store: Store, tmp_path: Path
) -> None:
    experiment = client.get_run(begin(tracker)).info.experiment_id
    client.delete_experiment(experiment)
    again = MlflowTracker(store, tmp_path / "other")
    assert client.get_run(begin(again)).info.experiment_id == experiment


def test_run_deleted_while_it_runs_costs_one_warning(
    tracker: MlflowTracker, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client.delete_run(begin(tracker))
    with caplog.at_level(logging.WARNING, logger="medseg"):
        for step in range(3):
            tracker.log_metrics({"train/loss": 1.0}, step)
            assert tracker.flush(force=True)
    assert [r.message.partition(":")[0] for r in caplog.records] == [
        "MLflow refused metrics of this run"
    ]


def test_missing_artifact_is_named(
    tracker: MlflowTracker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begin(tracker)
    tracker.log_artifacts(tmp_path / "nowhere.csv")
    tracker.finish("FINISHED")
    assert "nowhere.csv was to be sent to MLflow but is no longer there" in caplog.text
