"""A run killed by SIGKILL in every stage in turn ends as a run that nobody disturbed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from medseg.io.volumes import read_volume
from tests.pipelines.tiny import run, write_tiny

KILLS = [
    ("ingest", "middle"),
    ("ingest", "end"),
    ("plan", "end"),
    ("resample", "middle"),
    ("resample", "end"),
    ("patch_sample", "middle"),
    ("patch_sample", "end"),
    ("train", "middle"),
    ("train", "end"),
    ("infer", "middle"),
    ("infer", "end"),
    ("postprocess", "middle"),
    ("postprocess", "end"),
    ("report", "middle"),
    ("report", "end"),
]


@pytest.mark.slow
def test_killed_in_every_stage_the_run_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    config = write_tiny(tmp_path)
    run(config, tmp_path / "calm")
    killer = Path(__file__).with_name("kill_in.py")
    for stage, when in KILLS:
        command = [sys.executable, str(killer), stage, when, str(config)]
        done = subprocess.run(
            [*command, "--runs-dir", str(tmp_path / "killed")],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, (stage, when, done.stderr[-2000:])
    run(config, tmp_path / "killed")
    calm, killed = tmp_path / "calm" / "tiny", tmp_path / "killed" / "tiny"

    first = load_file(calm / "model" / "weights.safetensors")
    second = load_file(killed / "model" / "weights.safetensors")
    assert first.keys() == second.keys()
    for name, weight in first.items():
        np.testing.assert_array_equal(weight, second[name], err_msg=name)
    names = sorted(p.name for p in (calm / "predictions").iterdir())
    assert names
    assert names == sorted(p.name for p in (killed / "predictions").iterdir())
    for name in names:
        a = read_volume(calm / "predictions" / name)
        b = read_volume(killed / "predictions" / name)
        np.testing.assert_array_equal(a.data, b.data, err_msg=name)
        np.testing.assert_array_equal(a.affine, b.affine, err_msg=name)
    metrics = [(f / "report" / "metrics.csv").read_text() for f in (calm, killed)]
    assert metrics[0] == metrics[1]
    assert not list(killed.rglob("*.partial*"))
    again = run(config, tmp_path / "killed")
    assert "nothing to do" in again
