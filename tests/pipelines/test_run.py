"""`medseg run` and `medseg plan`: from a config to results, lines and an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medseg.pipelines.cli import main
from tests.pipelines.toys import Squares, toy_experiment

ROOT = Path(__file__).parents[2]


@pytest.fixture
def toy_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every config be the toy pipeline; return arguments that run it."""
    (tmp_path / "source").mkdir()
    for name, text in {"a": "1", "b": "2"}.items():
        (tmp_path / "source" / f"{name}.txt").write_text(text)
    asked: list[tuple[str, list[str]]] = []

    def load(config: str, overrides: list[str], **where: object) -> object:
        asked.append((config, overrides))
        return toy_experiment(tmp_path / "source")

    monkeypatch.setattr("medseg.pipelines.build.load_experiment", load)
    return ["toy.yaml", "--runs-dir", str(tmp_path / "runs")]


def test_run_goes_from_config_to_exit_code(
    toy_config: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *toy_config]) == 0
    assert main(["run", *toy_config, "--quiet"]) == 0
    captured = capsys.readouterr()
    assert "square: done in 0:00" in captured.err
    assert captured.out == ""
    assert "nothing to do" not in captured.err  # --quiet
    (tmp_path / "source" / "c.txt").write_text("corrupt")
    assert main(["run", *toy_config]) == 3
    assert "case c: holds no number; write one" in capsys.readouterr().err


def test_dry_run_after_a_run_says_nothing_to_do(
    toy_config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", *toy_config, "--quiet"])
    assert main(["run", *toy_config, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["read    done", "square  done", "add     done", lines[-1]]
    assert "nothing to do" in lines[-1]


def test_the_module_is_the_same_command(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "medseg.pipelines.run", str(tmp_path / "no.yaml")],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "no.yaml: no such file" in ended.stderr


def test_plan_prints_each_decision(
    toy_config: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["plan"])
    assert main(["plan", *toy_config]) == 2
    assert "no stage of its pipeline writes a plan" in capsys.readouterr().err
    monkeypatch.setattr("medseg.artefacts.Plan", Squares)
    assert main(["plan", *toy_config, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "square.power" in out
    assert "as set" in out
