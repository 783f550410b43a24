"""Every script in examples/ runs as its docstring says, and draws what it promises."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_runs_and_says_what_it_wrote(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    pictures = list((tmp_path / "out").glob("*.png"))
    assert pictures
    for path in pictures:
        assert path.name in done.stdout
        with Image.open(path) as picture:
            assert picture.width > 500
            assert len(picture.convert("RGB").getcolors(2**24)) > 20


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_without_a_folder_it_says_how_to_run_it(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        timeout=300,
    )
    assert done.returncode == 1
    assert f"python examples/{script.name} OUT" in done.stderr


def test_the_toy_has_each_kind_of_error() -> None:
    script = runpy.run_path(str(ROOT / "examples" / "loss_gradients.py"))
    logits, label = script["make_toy"]()
    predicted, truth = logits.argmax(1)[0].bool(), label[0].bool()
    assert (truth & ~predicted)[52, 54]  # a missed lesion
    assert (predicted & ~truth)[10, 12]  # an invented one
    assert (truth & predicted)[12, 46]  # one that is found
    assert torch.equal(truth, truth & (label[0] == 1))
    field = script["pull"]("cross_entropy", logits, label)
    assert field[52, 54] == 1  # raised
    assert field[10, 12] == -1  # lowered
    assert np.abs(field[0, -1]) < 0.1
