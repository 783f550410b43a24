"""The command line: what it accepts, what it says, how it exits, what it does not import."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.errors import CaseError, ConfigError, MissingExtraError, RunBusyError, StageError
from medseg.pipelines import cli, run
from medseg.pipelines.arguments import add_arguments
from medseg.pipelines.cli import main
from medseg.pipelines.logs import logging_to_stderr
from tests.pipelines.toys import Squares, toy_experiment

ROOT = Path(__file__).parents[2]

PROBE = """
import sys
from medseg.pipelines.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as leave:
    code = leave.code
print("HEAVY", sorted({name.split(".")[0] for name in sys.modules} & {"torch", "monai", "mlflow"}))
sys.exit(code)
"""


def probe(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a fresh interpreter and let it name the heavy modules it loaded."""
    return subprocess.run(
        [sys.executable, "-c", PROBE, *words], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("command", [[], ["run"], ["predict"], ["init"], ["check"], ["plan"]])
def test_help_is_light(command: list[str]) -> None:
    ended = probe(*command, "--help")
    assert ended.returncode == 0, ended.stderr
    assert "usage: medseg" in ended.stdout
    assert "HEAVY []" in ended.stdout


def test_dry_run_is_light_and_writes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("experiment: x\npipeline: volume\nmanifest: ct_liver\n")
    ended = probe("run", str(config), "--dry-run", "--runs-dir", str(tmp_path / "runs"))
    assert ended.returncode == 0, ended.stderr
    assert "train         would run" in ended.stdout
    assert "HEAVY []" in ended.stdout
    assert not (tmp_path / "runs" / "x").exists()


def test_a_config_error_is_light_and_one_message(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("experiment: x\nmanifest: ct_liver\ntrain:\n  budgt: 1h\n")
    ended = probe("run", str(config), "network.nme=vnet")
    assert ended.returncode == 2
    assert f"{config}:4:3: train.budgt: no such key; did you mean 'budget'?" in ended.stderr
    assert "command line: network.nme: no such key; did you mean 'name'?" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "HEAVY []" in ended.stdout


def test_the_module_is_the_same_command(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "medseg.pipelines.run", str(tmp_path / "no.yaml")],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "no.yaml: no such file" in ended.stderr


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


def test_overrides_and_options_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def remember(args: object) -> int:
        seen.update(vars(args))
        return 0

    monkeypatch.setattr(run, "main", remember)
    words = [
        "run",
        "c.yaml",
        "a.b=1",
        "--until",
        "plan",
        "c=2",
        "--force",
        "x",
        "--force",
        "y",
        "d=-3",
    ]
    assert main(words) == 0
    assert seen["overrides"] == ["a.b=1", "c=2", "d=-3"]
    assert (seen["until"], seen["force"], seen["start"]) == ("plan", ["x", "y"], None)


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "c.yaml", "--untli", "plan"])
    assert caught.value.code == 2
    assert "--untli" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("wrong"), 2),
        (RunBusyError("busy"), 2),
        (MissingExtraError("extra"), 2),
        (StageError("failed"), 1),
        (CaseError("a", "b", "c"), 1),
        (RuntimeError("odd"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_one_message_and_an_exit_code(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr(run, "main", fail)
    assert main(["run", "c.yaml"]) == code
    plain = capsys.readouterr().err
    assert plain.startswith("medseg: ")
    assert str(error) in plain
    assert "Traceback" not in plain
    assert main(["run", "c.yaml", "--debug"]) == code
    assert "Traceback" in capsys.readouterr().err


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


def test_list_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "stages"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ingest")
    assert "Read and validate the cases" in lines[0]
    assert len(lines) == 8
    with pytest.raises(SystemExit):
        main(["list", "nothing"])


def test_schema_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "-o", str(tmp_path / "s.json")]) == 0
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == (tmp_path / "s.json").read_text()


def test_logging_is_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("medseg")
    before = (list(log.handlers), log.level)
    with logging_to_stderr(quiet=True, debug=False):
        logging.getLogger("medseg.x").info("hidden")
        logging.getLogger("medseg.x").warning("shown")
    err = capsys.readouterr().err
    assert "shown" in err
    assert "hidden" not in err
    assert (log.handlers, log.level) == before


def test_every_command_declares_its_arguments() -> None:
    import argparse
    import importlib

    for name, (path, _) in cli.COMMANDS.items():
        module = importlib.import_module(path)
        parser = argparse.ArgumentParser(conflict_handler="resolve")
        add_arguments(name, module, parser)
        assert callable(module.main), name
