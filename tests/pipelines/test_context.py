"""Counting workers, progress lines, and per-case work on a dask cluster."""

from __future__ import annotations

import errno
import logging
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from medseg.errors import StageError
from medseg.pipelines.cases import is_disk_full, result_kind
from medseg.pipelines.context import RunContext
from medseg.pipelines.options import Options
from medseg.pipelines.progress import Display, clock
from medseg.pipelines.runner import Runner
from medseg.pipelines.store import Places
from medseg.pipelines.workers import count_workers, free_memory
from medseg.settings import Compute
from medseg.tracking import NullTracker
from tests.pipelines.toys import square_case, toy_experiment


def context(folder: Path, fresh_after: float | None = None) -> RunContext:
    work = folder / "run" / "stages" / "s" / "k.partial"
    work.mkdir(parents=True, exist_ok=True)
    return RunContext(
        "s",
        work,
        places=Places(run=folder / "run", scratch=folder / "_scratch"),
        device="cpu",
        compute=Compute(workers=1),
        tracker=NullTracker(),
        display=Display(quiet=True),
        fresh_after=fresh_after,
    )


def items(**texts: str) -> dict[str, dict[str, object]]:
    return {name: {"name": name, "text": text, "power": 2} for name, text in texts.items()}


def test_results_keep_the_order_of_the_items(tmp_path: Path) -> None:
    results = context(tmp_path).map_cases(square_case, items(z="1", a="2", m="3"))
    assert [(name, one.value) for name, one in results.done.items()] == [
        ("z", 1), ("a", 4), ("m", 9),
    ]  # fmt: skip


def test_known_results_are_reused_and_broken_ones_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counts = tmp_path / "counts"
    monkeypatch.setenv("TOY_COUNTS", str(counts))
    first = context(tmp_path).map_cases(square_case, items(a="1", b="2"))
    second = context(tmp_path).map_cases(square_case, items(a="1", b="2"))
    assert second == first
    assert len(counts.read_text().splitlines()) == 2
    (first.done["a"].file.parent / "result.json").write_text("{}")
    assert context(tmp_path).map_cases(square_case, items(a="1", b="2")) == first
    assert "made anew" in caplog.text
    assert len(counts.read_text().splitlines()) == 3
    context(tmp_path, fresh_after=1e12).map_cases(square_case, items(a="1"))
    assert len(counts.read_text().splitlines()) == 4


def test_shared_arguments_are_no_part_of_the_key(tmp_path: Path) -> None:
    plain = {name: {"name": name, "text": "3"} for name in "ab"}
    first = context(tmp_path).map_cases(square_case, plain, shared={"power": 2})
    second = context(tmp_path).map_cases(square_case, plain, shared={"power": 3})
    assert second == first


def test_no_items_is_no_failure(tmp_path: Path) -> None:
    assert context(tmp_path).map_cases(square_case, {}).done == {}


def test_a_case_that_the_stage_itself_sets_aside_is_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = context(tmp_path)
    here.set_aside("x", "is a copy of y; exclude one")
    assert [(one.case, one.stage) for one in here.listed] == [("x", "s")]
    assert "case x: is a copy of y" in caplog.text


def test_a_function_without_a_place_is_refused(tmp_path: Path) -> None:
    def local(out: Path) -> int:
        return 1

    with pytest.raises(StageError, match="must be a module-level function"):
        context(tmp_path).map_cases(local, {"a": {}})
    with pytest.raises(StageError, match="return annotation"):
        result_kind(_unsaid)


def _unsaid(out: Path):  # type: ignore[no-untyped-def]
    return 1


@pytest.mark.parametrize(
    ("wanted", "cases", "memory", "free", "workers"),
    [
        (4, 100, 10**12, 1, 4),  # a number stands as it is
        (4, 2, 0, None, 2),
        ("auto", 100, 60, 100, 1),
        ("auto", 100, 200, 100, 1),  # one always runs
        ("auto", 1, 0, None, 1),
    ],
)
def test_number_of_workers(
    wanted: int | str, cases: int, memory: int, free: int | None, workers: int
) -> None:
    assert count_workers(wanted, cases, memory, free=free) == workers  # type: ignore[arg-type]


def test_memory_halves_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    assert count_workers("auto", 100, 0) == 8
    assert count_workers("auto", 100, memory=20, free=100) == 4  # 0.8 * 100 / 20
    assert free_memory() > 0


def test_plain_lines_tell_the_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    times = iter([0.0, 4.0, 12.0, 13.0])
    monkeypatch.setattr("medseg.pipelines.progress.time.monotonic", lambda: next(times))
    caplog.set_level(logging.INFO)
    with Display(every_s=10).open("resample", 10, "case") as bar:
        bar.advance()
        bar.advance(2, note="liver_3")
        bar.advance()
    assert [record.message for record in caplog.records] == [
        "resample 3/10 cases, 0:28 left (liver_3)"  # 12 s for 3: 4 s each, 7 to go
    ]


def test_a_case_counts_when_it_is_done(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    times = iter([0.0, 15.0, 30.0])
    monkeypatch.setattr("medseg.pipelines.progress.time.monotonic", lambda: next(times))
    caplog.set_level(logging.INFO)
    with Display(every_s=10).open("predict", 1, "case") as bar:
        bar.advance(0.75)
        bar.advance(1 - 0.75 - 1e-9)  # the shares of its tiles
    said = [record.message for record in caplog.records]
    assert [line.split(",")[0] for line in said] == ["predict 0/1 cases", "predict 1/1 cases"]


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.6, 3599, 3600)] == ["0:00", "1:00", "59:59", "1:00:00"]


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise where a cluster that does not start or stop would hang."""

    def late(*args: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
def test_the_same_stages_run_on_a_dask_cluster(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    source = tmp_path / "source"
    source.mkdir()
    for name, text in {"a": "1", "b": "2", "c": "corrupt"}.items():
        (source / f"{name}.txt").write_text(text)
    with (
        time_limit(60),
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            protocol="tcp://",
            dashboard_address=None,
        ) as cluster,
    ):
        experiment = toy_experiment(source, scheduler=cluster.scheduler_address)
        outcome = Runner(experiment, Options(runs_dir=tmp_path / "runs")).run()
    assert outcome.exit_code == 3
    assert [one.case for one in outcome.set_aside] == ["c"]
    assert outcome.artefacts["total"].value == 5


def test_a_scheduler_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("timed out")

    monkeypatch.setattr("distributed.Client", refuse)
    (tmp_path / "a.txt").write_text("1")
    experiment = toy_experiment(tmp_path, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(StageError, match=r"nothing answers at tcp://127.0.0.1:9 \(timed out\)"):
        Runner(experiment, Options(runs_dir=tmp_path / "runs")).run()


def count_to_three(*, out: Path, stop_at: int | None = None, seen: list[int]) -> list[int]:
    """Write a file per step; ``stop_at`` dies before that step, as Ctrl-C would."""
    for step in range(len(list(out.glob("step*"))), 3):
        if step == stop_at:
            raise KeyboardInterrupt
        (out / f"step{step}").touch()
        seen.append(step)
    return list(seen)


def test_a_long_call_goes_on_where_it_was_killed_and_is_made_once(tmp_path: Path) -> None:
    seen: list[int] = []

    def call(stop_at: int | None = None, fresh_after: float | None = None) -> list[int]:
        shared = {"stop_at": stop_at, "seen": seen}
        return context(tmp_path, fresh_after).once(count_to_three, "three", {}, shared=shared)

    with pytest.raises(KeyboardInterrupt):
        call(stop_at=2)
    assert call() == [0, 1, 2]
    assert call() == [0, 1, 2]  # known
    assert seen == [0, 1, 2]
    cases = tmp_path / "run" / "stages" / "s" / "cases"
    assert not list(cases.glob("*.partial"))
    with pytest.raises(KeyboardInterrupt):  # asked for anew: the result does not count
        call(stop_at=1, fresh_after=time.time() + 60)
    assert seen == [0, 1, 2, 0]
    with pytest.raises(KeyboardInterrupt):  # nor what was begun before
        call(stop_at=1, fresh_after=time.time() + 60)
    assert seen == [0, 1, 2, 0, 0]
    for result in cases.glob("*/result.json"):
        result.unlink()
    call(fresh_after=time.time() - 60)  # but what was begun after it goes on
    assert seen == [0, 1, 2, 0, 0, 1, 2]


def test_a_long_call_that_fails_fails_the_stage(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        context(tmp_path).once(count_to_three, "three", {}, shared={"seen": None, "more": 1})
    assert context(tmp_path).listed == []


def disk_case(out: Path, name: str, full: bool) -> str:
    """Write a file, or find the disk full as NumPy tells it."""
    if full:
        raise OSError("10000 requested and 7468 written")
    (out / "a").touch()
    return name


def test_a_full_disk_is_no_fault_of_the_case_and_ends_the_stage(tmp_path: Path) -> None:
    wanted = {name: {"name": name, "full": name == "b"} for name in "abc"}
    with pytest.raises(
        StageError, match=r"no more can be written .* 1 of 3 cases are done and kept"
    ):
        context(tmp_path).map_cases(disk_case, wanted)
    room = {name: {"name": name, "full": False} for name in "abc"}
    found = context(tmp_path)
    assert list(found.map_cases(disk_case, room).done) == ["a", "b", "c"]
    assert found.listed == []  # nothing was set aside for good


def test_what_says_that_a_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_disk_full(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert is_disk_full(OSError("16 requested and 0 written"), tmp_path)
    assert not is_disk_full(OSError(errno.ENOENT, "No such file or directory"), tmp_path)
    assert not is_disk_full(RuntimeError("16 requested and 0 written"), tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**10))
    assert is_disk_full(RuntimeError("blosc2 could not write"), tmp_path)
