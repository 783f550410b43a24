"""Orders, failures and ends, between threads that share a store as processes do."""

from __future__ import annotations

import importlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import HashStore

from medseg import team as teams
from medseg.errors import CaseError, StageError
from medseg.launcher import Place
from medseg.pipelines.cases import Outcome
from medseg.pipelines.workers import run_team
from medseg.team import Team, check_gpu, current, joined

DONE: list[Any] = []


def note(value: int) -> None:
    DONE.append(value)


def fail(error: Exception) -> None:
    raise error


def stop() -> None:
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    DONE.clear()
    monkeypatch.setattr(teams, "POLL_S", 0.01)
    monkeypatch.setattr(teams, "GRACE_S", 0.5)


def make_team(world: int = 2) -> list[Team]:
    store = HashStore()
    return [Team(Place(rank, world, rank, world, "127.0.0.1", 0), store) for rank in range(world)]


class Following:
    """The other processes, each in a thread; ``codes`` are what they ended with."""

    def __init__(self, others: list[Team]) -> None:
        self.codes: dict[int, int] = {}
        self.threads = [threading.Thread(target=self._follow, args=(one,)) for one in others]

    def _follow(self, one: Team) -> None:
        self.codes[one.place.rank] = one.follow()

    def __enter__(self) -> Following:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def test_the_others_do_what_the_first_orders_until_it_ends() -> None:
    first, *others = make_team(3)
    with Following(others) as following:
        first.order(note, 1)
        first.order(note, 2)
        while len(DONE) < 4:  # who ends before an order was heard, takes it back
            time.sleep(0.01)
        first.end()
    assert following.codes == {1: 0, 2: 0}
    assert sorted(DONE) == [1, 1, 2, 2]


def test_a_failure_is_the_first_ones_to_tell(capfd: pytest.CaptureFixture[str]) -> None:
    first, other = make_team()
    with Following([other]) as following:
        first.order(fail, CaseError("a", "is broken", "mend it"))
        with pytest.raises(StageError, match=r"process 1 of 2 .*: case a: is broken; mend it"):
            first.meet()
        first.end()
    assert following.codes == {1: 0}
    assert capfd.readouterr().err == ""


def test_a_failure_that_the_first_does_not_hear_is_told_by_who_failed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    first, other = make_team()
    with Following([other]) as following:
        first.order(fail, ValueError("no such thing"))
    assert following.codes == {1: 1}
    assert "process 1 of 2" in (told := capfd.readouterr().err)
    assert "ValueError: no such thing" in told


def test_an_interrupted_one_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    first, other = make_team()
    with Following([other]) as following:
        first.order(stop)
    assert following.codes == {1: 130}
    assert capfd.readouterr().err == ""
    first.check()


def test_all_meet() -> None:
    teams_ = make_team(3)
    order: list[str] = []

    def arrive(one: Team) -> None:
        order.append("before")
        one.meet()
        order.append("after")

    threads = [threading.Thread(target=arrive, args=(one,)) for one in teams_]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert order == ["before"] * 3 + ["after"] * 3


class Call:
    """One case, as the runner makes it."""

    def __init__(self, case: str, folder: Path) -> None:
        self.case, self.folder = case, folder

    def __call__(self) -> Outcome:
        (self.folder / f"{self.case}.{threading.get_ident()}").touch()
        return Outcome(self.case, "is broken" if self.case == "c3" else None)


def test_cases_are_shared_and_each_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = make_team()
    monkeypatch.setattr(teams, "_here", other)  # what the other one finds
    calls = {f"c{i}": Call(f"c{i}", tmp_path) for i in range(40)}
    with Following([other]) as following:
        for _ in range(2):  # a second stage does not meet what the first one left
            outcomes = list(run_team(calls, first, "cpu"))
            assert sorted(one.case for one in outcomes) == sorted(calls)
            assert [one.case for one in outcomes if one.reason] == ["c3"]
        first.end()
    assert following.codes == {1: 0}
    done = [path.name.split(".") for path in tmp_path.iterdir()]
    assert {who for _, who in done} >= {str(threading.get_ident())}


def test_a_process_without_a_gpu_takes_no_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    first, other = make_team()
    monkeypatch.setattr(teams, "_here", other)
    calls = {f"c{i}": Call(f"c{i}", tmp_path) for i in range(3)}
    monkeypatch.setattr(first, "count", lambda name: 4)  # else the first might do all by itself
    with Following([other]):
        with pytest.raises(StageError, match="one process per GPU at most"):
            list(run_team(calls, first, "cuda:0"))
        first.end()
    assert not list(tmp_path.iterdir())
    with pytest.raises(StageError, match="no CUDA device"):
        check_gpu("cuda:0")
    check_gpu("cpu")


def test_one_process_is_no_team() -> None:
    with joined({}) as team:
        assert team is None
        assert current() is None


def test_processes_that_do_not_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*args: object, **kwargs: object) -> None:
        raise RuntimeError("timed out\nand a trace")

    module = importlib.import_module("torch.distributed.rendezvous")  # a function has its name
    monkeypatch.setattr(module, "rendezvous", nobody)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that both are put back
    environ = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "node1", "MASTER_PORT": "4000"}
    wanted = r"the 2 processes do not find each other at node1:4000 \(timed out\); check"
    with pytest.raises(StageError, match=wanted), joined(environ):
        pass
    assert current() is None
