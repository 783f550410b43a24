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
