"""`medseg plan` on a real, tiny experiment: decisions, forecast, and both as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg.pipelines.cli import main
from tests.pipelines.tiny import write_tiny


def test_plan_prints_decisions_and_forecast(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_tiny(tmp_path))
    command = ["plan", config, "--runs-dir", str(tmp_path / "runs"), "--quiet"]
    assert main(command) == 0
    told = capsys.readouterr().out
    for part in ("patch_sample.patch_size", "network.preset", "forecast", "s a step"):
        assert part in told
    assert "of each training case" in told
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plan"]["resample.resolution"]["value"] == "full"
    assert found["plan"]["train.batch_size"]["rule"]
    assert found["forecast"]["device"] == "cpu"
    assert found["forecast"]["seconds_per_step"] > 0
    assert main([*command, "--json", "plan.measure=false"]) == 0
    assert json.loads(capsys.readouterr().out)["forecast"] is None


def test_a_look_at_another_plan_leaves_a_run_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_tiny(tmp_path))
    where = ["--runs-dir", str(tmp_path / "runs"), "--quiet"]
    off = ["plan.measure=false", "tracking=off"]
    assert main(["run", config, *where, *off, "--until", "patch_sample"]) == 0
    (folder,) = (p for p in (tmp_path / "runs").iterdir() if (p / "run.json").is_file())
    before = {
        name: (folder / name).read_text() for name in ("run.json", "config.yaml", "plan.yaml")
    }
    assert main(["plan", config, *where, *off[:1], "--json", "train.batch_size=3"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["train.batch_size"]["value"] == 3
    assert before == {name: (folder / name).read_text() for name in before}
    assert not (tmp_path / "runs" / "mlflow.db").exists()  # a look is no run
    assert main(["run", config, *where, *off, "--until", "patch_sample", "--dry-run"]) == 0
    assert "nothing to do" in capsys.readouterr().out
