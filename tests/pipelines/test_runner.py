"""The runner on a toy pipeline: skip, resume, reuse, set aside, lock, interrupt."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
from filelock import FileLock

from medseg.errors import ConfigError, RunBusyError, StageError
from medseg.pipelines.options import Options, Outcome
from medseg.pipelines.runner import Runner
from medseg.stages.context import Context
from tests.pipelines.toys import Numbers, toy_experiment

ROOT = Path(__file__).parents[2]


@dataclass
class Toy:
    """The toy pipeline in a folder of its own."""

    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def run_dir(self) -> Path:
        return self.runs / "toy"

    def put(self, **numbers: str) -> None:
        self.source.mkdir(exist_ok=True)
        for name, text in numbers.items():
            (self.source / f"{name}.txt").write_text(text)

    def runner(self, **changes: Any) -> Runner:
        options = {k: changes.pop(k) for k in ("start", "until", "force") if k in changes}
        experiment = toy_experiment(self.source, **changes)
        return Runner(experiment, Options(runs_dir=self.runs, **options))

    def run(self, **changes: Any) -> Outcome:
        return self.runner(**changes).run()

    def calls(self) -> list[str]:
        """Return what was called since the last time one asked."""
        file = self.folder / "counts"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def start(self, workers: int = 1, **env: str) -> subprocess.Popen[bytes]:
        """Run in a process of its own, whose log is in the file ``log``."""
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.pipelines.toys",
                    self.runs,
                    self.source,
                    str(workers),
                ],
                cwd=ROOT,
                env={**os.environ, "TOY_COUNTS": str(self.folder / "counts"), **env},
                stderr=log,
            )

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, "what was waited for did not come"
            time.sleep(0.02)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setenv("TOY_COUNTS", str(tmp_path / "counts"))
    made = Toy(tmp_path)
    made.put(a="1", b="2", c="3")
    return made


def test_a_run_leaves_what_the_contract_names(toy: Toy) -> None:
    outcome = toy.run()
    assert outcome.exit_code == 0
    assert outcome.artefacts["total"].value == 1 + 4 + 9
    assert (toy.run_dir / "report" / "index.txt").read_text() == "total: 14.0"
    assert (toy.run_dir / "config.yaml").is_file()
    assert "square.power" in (toy.run_dir / "plan.yaml").read_text()
    record = json.loads((toy.run_dir / "run.json").read_text())
    assert record["status"] == "done"
    assert list(record["stages"]) == ["read", "square", "add"]
    assert record["device"] == "cpu"
    assert record["versions"]["medseg"]
    for name, entry in record["stages"].items():
        assert (toy.run_dir / "stages" / name / entry["key"] / "artefact.json").is_file()
        assert entry["seconds"] >= 0
    assert not list(toy.run_dir.rglob("*.partial*"))


def test_run_again_does_nothing_and_says_so(toy: Toy, caplog: pytest.LogCaptureFixture) -> None:
    toy.run()
    record = (toy.run_dir / "run.json").read_text()
    toy.calls()
    caplog.set_level("INFO")
    outcome = toy.run()
    assert outcome.ran == ()
    assert toy.calls() == []
    assert "nothing to do" in caplog.text
    assert (toy.run_dir / "run.json").read_text() == record


def test_an_added_and_a_changed_case_are_the_only_ones_computed(toy: Toy) -> None:
    toy.run()
    toy.calls()
    toy.put(b="5", d="4")
    outcome = toy.run()
    assert sorted(toy.calls()) == ["add", "read", "square b", "square d"]
    assert outcome.artefacts["total"].value == 1 + 25 + 9 + 16


def test_an_equal_artefact_stops_the_recomputation(toy: Toy) -> None:
    toy.run()
    toy.calls()
    outcome = toy.run(comment="another key, the same numbers")
    assert outcome.ran == ("read",)
    assert toy.calls() == ["read"]


def test_a_path_in_the_stage_folder_carries_the_key_on(toy: Toy) -> None:
    first = toy.runner()
    first.run()
    other = toy.runner(title="sum")
    other.run()
    assert first.digests["squares"] == other.digests["squares"]
    assert first.digests["total"] != other.digests["total"]  # the JSON alone is the same


def test_changing_back_republishes_without_computing(toy: Toy) -> None:
    toy.run()
    toy.run(title="sum")
    assert (toy.run_dir / "report" / "index.txt").read_text() == "sum: 14.0"
    assert toy.run().ran == ()
    assert (toy.run_dir / "report" / "index.txt").read_text() == "total: 14.0"


def test_from_force_and_until(toy: Toy) -> None:
    assert toy.run(until="square").ran == ("read", "square")
    assert toy.run().ran == ("add",)
    toy.calls()
    assert toy.run(force=("square",)).ran == ("square",)  # add sees the same squares
    assert sorted(toy.calls()) == ["square a", "square b", "square c"]
    assert toy.run(start="square").ran == ("square", "add")
    with pytest.raises(ConfigError, match="did you mean 'square'"):
        toy.runner(start="sqare")
    with pytest.raises(ConfigError, match="--from add comes after --until square"):
        toy.runner(start="add", until="square")


def test_dry_run_tells_without_writing(toy: Toy) -> None:
    assert [row.state for row in toy.runner().dry_run()] == ["would run"] * 3
    assert not toy.runs.exists()
    toy.run()
    assert [row.state for row in toy.runner().dry_run()] == ["done"] * 3
    states = [row.state for row in toy.runner(power=3).dry_run()]
    assert states[:2] == ["done", "would run"]
    assert "unless squares comes out as it was" in states[2]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_case_is_set_aside_and_stays_listed(
    toy: Toy, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    toy.put(d="corrupt", e="no number")
    first = toy.run(workers=workers)
    assert first.exit_code == 3
    assert first.artefacts["total"].value == 14
    reasons = {one.case: one.reason for one in first.set_aside}
    assert reasons["d"] == "case d: holds no number; write one"
    assert reasons["e"].startswith("ValueError: could not convert string to float")
    trace = Path(reasons["e"].rpartition("traceback in ")[2])
    assert "square_case" in trace.read_text()
    toy.calls()
    caplog.clear()
    second = toy.run(workers=workers)
    assert second.exit_code == 3
    assert second.ran == ()
    assert second.set_aside == first.set_aside
    assert "case d: holds no number; write one" in caplog.text
    toy.put(d="2", e="2")
    assert toy.run(workers=workers).exit_code == 0


def test_all_cases_failing_fails_the_stage(toy: Toy) -> None:
    toy.put(a="corrupt", b="corrupt", c="corrupt")
    with pytest.raises(StageError, match="all 3 cases failed; the first: case a"):
        toy.run()
    assert json.loads((toy.run_dir / "run.json").read_text())["status"] == "failed"
    toy.put(a="1")
    assert toy.run().exit_code == 3


def test_a_case_that_kills_its_worker_is_set_aside_alone(toy: Toy) -> None:
    toy.put(d="deadly")
    outcome = toy.run(workers=2)
    assert [one.case for one in outcome.set_aside] == ["d"]
    assert "killed" in outcome.set_aside[0].reason
    assert outcome.artefacts["total"].value == 14


def test_workers_give_what_one_process_gives(toy: Toy, tmp_path: Path) -> None:
    serial = toy.run()
    other = Toy(tmp_path / "other")
    other.folder.mkdir()
    other.put(a="1", b="2", c="3")
    several = other.run(workers=2)
    assert list(several.artefacts["squares"].cases) == list(serial.artefacts["squares"].cases)
    assert several.artefacts["total"].value == serial.artefacts["total"].value


def test_a_moved_runs_folder_goes_on_working(toy: Toy, tmp_path: Path) -> None:
    toy.run()
    moved = tmp_path / "elsewhere"
    toy.runs.rename(moved)
    toy.calls()
    outcome = Runner(toy_experiment(toy.source), Options(runs_dir=moved)).run()
    assert outcome.ran == ()
    assert outcome.artefacts["total"].page.is_relative_to(moved)
    assert outcome.artefacts["squares"].cases["b"].file.read_text() == "4.0"
    assert (
        str(tmp_path)
        not in (moved / "toy/stages/add").glob("*/artefact.json").__next__().read_text()
    )


def test_a_second_process_is_kept_out(toy: Toy) -> None:
    toy.run_dir.mkdir(parents=True)
    with FileLock(toy.run_dir / ".lock"), pytest.raises(RunBusyError, match="another process"):
        toy.run()


def test_runs_that_cannot_be_written_are_the_commands_fault(toy: Toy) -> None:
    toy.put(a="1")
    toy.runs.write_text("a file where a folder should be")
    with pytest.raises(ConfigError, match=r"cannot be made or written .*--runs-dir"):
        toy.run()


@pytest.mark.parametrize("workers", [1, 2])
def test_sigkill_among_cases_resumes_to_the_same_result(toy: Toy, workers: int) -> None:
    process = toy.start(workers, TOY_SLEEP="0.7")
    cases = toy.run_dir / "stages" / "square" / "cases"
    toy.wait_for(lambda: len(list(cases.glob("*/result.json"))) > 0)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert psutil.wait_procs(children, timeout=15)[1] == []  # workers end with their parent
    assert json.loads((toy.run_dir / "run.json").read_text())["status"] == "running"
    done = len([p for p in cases.glob("*/result.json") if ".partial" not in p.parent.name])
    assert 0 < done < 3
    assert toy.start(workers).wait(60) == 0
    assert (toy.run_dir / "report" / "index.txt").read_text() == "total: 14.0"
    assert json.loads((toy.run_dir / "run.json").read_text())["status"] == "done"


def test_a_killed_stage_goes_on_in_its_folder(toy: Toy) -> None:
    process = toy.start(TOY_SLEEP_ADD="30")
    toy.wait_for(lambda: bool(list(toy.run_dir.glob("stages/add/*.partial/was_here"))))
    process.kill()
    process.wait()
    process = toy.start(TOY_SLEEP_ADD="30")  # sleeps only where it has not been before
    assert process.wait(20) == 0
    assert list(toy.run_dir.glob("stages/add/*/was_here"))


def test_killed_between_the_last_write_and_the_rename(toy: Toy) -> None:
    toy.run()
    [final] = [p.parent for p in toy.run_dir.glob("stages/add/*/artefact.json")]
    final.rename(final.with_name(final.name + ".partial"))
    shutil.rmtree(toy.run_dir / "report")
    toy.calls()
    assert toy.run().exit_code == 0
    assert toy.calls() == []
    assert (toy.run_dir / "report" / "index.txt").read_text() == "total: 14.0"


def test_a_forced_run_that_was_killed_does_not_begin_again(toy: Toy) -> None:
    toy.run()
    record = json.loads((toy.run_dir / "run.json").read_text())
    record |= {"status": "running"}
    record["recompute"] = {
        "asked": ["square", "add"],
        "begun": {"square": time.time() - 1},
        "done": ["square"],
    }
    (toy.run_dir / "run.json").write_text(json.dumps(record))
    assert toy.run(start="square").ran == ("add",)
    assert toy.run(start="square").ran == ("square", "add")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_exits_130_and_goes_on(toy: Toy, stop: signal.Signals) -> None:
    process = toy.start(2, TOY_SLEEP="0.7")
    cases = toy.run_dir / "stages" / "square" / "cases"
    toy.wait_for(lambda: len(list(cases.glob("*/result.json"))) > 0)
    process.send_signal(stop)
    code, errors = process.wait(30), (toy.folder / "log").read_text()
    assert code == 130, errors
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert json.loads((toy.run_dir / "run.json").read_text())["status"] == "interrupted"
    assert toy.run().exit_code == 0
    assert (toy.run_dir / "report" / "index.txt").read_text() == "total: 14.0"


def test_an_unforeseen_error_names_its_traceback(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.pipelines.toys.Add.run", _broken)
    with pytest.raises(StageError, match=r"stage add failed: ZeroDivisionError.*stage\.txt"):
        toy.run()
    assert "_broken" in (toy.run_dir / "stages/add/errors/stage.txt").read_text()


def _broken(self: Any, numbers: Numbers, context: Context) -> Numbers:
    raise ZeroDivisionError("by zero")


@dataclass(frozen=True)
class _Liar:
    writes: ClassVar[str] = "numbers"

    def run(self, context: Context) -> Numbers:
        return 3  # type: ignore[return-value]


def test_a_stage_that_returns_something_else_is_told(toy: Toy) -> None:
    from dataclasses import replace

    experiment = replace(toy_experiment(toy.source), stages=(("read", _Liar()),))
    with pytest.raises(StageError, match="run returned int, not Numbers"):
        Runner(experiment, Options(runs_dir=toy.runs)).run()


def test_a_tracker_that_breaks_does_not_fail_the_run(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> None:
        raise OSError("the store is gone")

    monkeypatch.setattr("medseg.pipelines.runner.make_tracker", broken)
    assert toy.run().exit_code == 0
    assert "tracking is off for the rest of this run: OSError: the store is gone" in caplog.text


def test_the_first_error_wins_where_none_can_be_written_down(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: Any, **settings: Any) -> None:
        raise OSError(28, "No space left on device")

    def break_and_fill(self: Any, numbers: Numbers, context: Context) -> Numbers:
        monkeypatch.setattr(Path, "write_text", full)
        monkeypatch.setattr("medseg.pipelines.runfolder.RunFolder.write_record", full)
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("tests.pipelines.toys.Add.run", break_and_fill)
    with pytest.raises(StageError, match=r"ZeroDivisionError: by zero; no traceback .*No space"):
        toy.run()
    assert "run.json does not say so: [Errno 28] No space left on device" in caplog.text


def test_a_reason_stands_once_in_the_log_of_a_run(
    toy: Toy, caplog: pytest.LogCaptureFixture
) -> None:
    toy.put(d="corrupt")
    toy.run()
    assert caplog.text.count("holds no number") == 1
    assert "1 case was set aside and in no result:\n  square: case d, as told above" in caplog.text
