"""A run of all stages by torchrun: killed, resumed, and equal to processes started here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.pipelines.tiny import run, write_tiny

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def torchrun(*words: str, code: int = 0) -> str:
    """Run a module or a script in two processes; return what they printed."""
    done = subprocess.run(
        [sys.executable, *TORCHRUN, *words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    output = done.stdout + done.stderr
    assert done.returncode == code, output[-4000:]
    return output


def only_weights(folder: Path) -> Path:
    [path] = folder.glob("stages/train/cases/*/weights.safetensors")
    return path


@pytest.mark.slow
def test_a_run_by_torchrun_killed_and_resumed_equals_processes_started_here(
    monkeypatch,
    tmp_path: Path,
) -> None:
    config = write_tiny(tmp_path)
    killer = str(Path(__file__).with_name("kill_in.py"))
    there = [str(config), "--runs-dir", str(tmp_path / "there")]
    torchrun(killer, "train", "middle", *there, code=1)
    folder = tmp_path / "there" / "tiny"
    assert list(folder.rglob("last.ckpt"))
    assert not (folder / "predictions").exists()

    told = torchrun("-m", "medseg.pipelines.run", *there)
    assert told.count("train: starts") == 1  # the other process says nothing
    assert told.count("Dice") == told.count("validation Dice") <= 2
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "done"
    assert list((folder / "predictions").iterdir())
    assert not list(folder.rglob("*.partial*"))

    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as torchrun has it: sums in the same order
    run(config, tmp_path / "here", "train.devices=2", "--until", "train")
    first, second = (
        load_file(only_weights(where)) for where in (tmp_path / "here" / "tiny", folder)
    )
    assert first.keys() == second.keys()
    for name, weight in first.items():
        np.testing.assert_array_equal(weight, second[name], err_msg=name)
