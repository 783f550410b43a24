"""The command line: what it accepts, what it says, how it exits, what it does not import."""

from __future__ import annotations

import errno
import logging
import re
import runpy
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from medseg.errors import CaseError, ConfigError, MissingExtraError, RunBusyError, StageError
from medseg.metrics.case import StructureScore
from medseg.pipelines import cli, run
from medseg.pipelines.arguments import add_arguments
from medseg.pipelines.catalogue import KINDS, table_of
from medseg.pipelines.cli import main
from medseg.pipelines.logs import logging_to_stderr

ROOT = Path(__file__).parents[2]

PROBE = """
import sys
from medseg.pipelines.catalogue import KINDS, table_of
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


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ("{name: tverksy}", "train.loss: no loss is named 'tverksy'; did you mean 'tversky'?"),
        ("{name: dice, smoth: 1}", "no argument 'smoth'; did you mean 'smooth'?"),
        ("[{name: dice}, {name: focal, weight: fast}]", "train.loss[1]: no weight schedule"),
    ],
)
def test_a_mistaken_loss_ends_the_run_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], loss: str, says: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "experiment: x\npipeline: volume\nmanifest: ct_liver\n" + f"train: {{loss: {loss}}}\n"
    )
    assert main(["run", str(config), "--runs-dir", str(tmp_path / "runs")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "runs" / "x").exists()


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
    ("words", "says"),
    [
        (["--untli", "plan"], "unknown argument: --untli; did you mean '--until'?"),
        (["--train.budget=6it"], "a setting has no dashes: train.budget=6it"),
    ],
)
def test_a_wrong_option_is_answered_with_the_right_one(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["run", "c.yaml", *words])
    said = capsys.readouterr().err
    assert says in said
    assert "usage: medseg run" in said


def test_settings_are_not_called_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run"])
    assert "the following arguments are required: CONFIG\n" in capsys.readouterr().err


def test_python_m_medseg_is_the_same_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["medseg", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("medseg", run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("medseg ")


@pytest.mark.parametrize(
    ("name", "kind"), [("unett", "did you mean 'unet'?"), ("hf:segfomer", "'hf:segformer'")]
)
def test_a_mistaken_network_ends_the_run_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, kind: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("experiment: x\npipeline: volume\nmanifest: ct_liver\n")
    words = ["run", str(config), f"network.name={name}", "--runs-dir", str(tmp_path / "runs")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"command line: network.name: no network is named '{name}'" in said
    assert kind in said
    assert not (tmp_path / "runs" / "x").exists()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.loss=dice", "train.loss: should be a mapping, or should be a list; got 'dice'; "),
        ("network=vnet", "network: should be a mapping with the keys name, "),
    ],
)
def test_a_name_in_place_of_a_mapping_is_shown_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, says: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("experiment: x\npipeline: volume\nmanifest: ct_liver\n")
    assert main(["run", str(config), override, "--runs-dir", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert f"write {{name: {override.partition('=')[2]}}}" in said


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: No space left on device; "),
        (PermissionError(errno.EACCES, "Permission denied", "c"), "c: Permission denied; name a"),
        (OSError(errno.EIO, "Input/output error", "d"), "this was not foreseen"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "this was not foreseen"),  # not stdout's
    ],
)
def test_errors_of_the_system_come_with_a_cure(
    error: OSError, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr(run, "main", fail)
    assert main(["run", "c.yaml"]) == 1
    assert says in capsys.readouterr().err


def test_a_reader_who_left_is_no_error() -> None:
    ended = subprocess.run(
        f"{sys.executable} -m medseg list stages | true; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0
    assert ended.stderr == ""


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


def test_list_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "stages"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ingest")
    assert "Read and validate the cases" in lines[0]
    assert len(lines) == 8
    with pytest.raises(SystemExit):
        main(["list", "nothing"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_comes_with_a_line(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    for line in capsys.readouterr().out.splitlines():
        assert len(line.split()) > 3, line
        assert not re.search(r"`|\]_|\bReturn\b|_loss\b|logits", line), line


def test_listed_metrics_are_columns_of_the_scores() -> None:
    assert set(table_of("metrics")) <= {field.name for field in fields(StructureScore)}


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
