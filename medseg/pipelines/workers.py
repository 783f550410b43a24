"""Run case calls side by side: in processes here, or on a dask cluster."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import psutil

from medseg.errors import MissingExtraError, StageError
from medseg.identifiers import hidden_words
from medseg.pipelines.cases import Outcome
from medseg.pipelines.concealed_output import conceal_here
from medseg.team import POLL_S, Team, check_gpu, current

logger = logging.getLogger(__name__)

MEMORY_SHARE = 0.8
"""Share of the free memory that cases may fill together."""


def count_workers(
    wanted: int | Literal["auto"], cases: int, memory: int, *, free: int | None = None
) -> int:
    """Return how many processes to run.

    Parameters
    ----------
    wanted : int or "auto"
        The config's ``compute.workers``; auto is as many as cores and free memory allow.
    cases : int
        Cases to do; more workers than cases are of no use.
    memory : int
        Bytes one case needs at most; 0: unknown.
    free : int, optional
        Free bytes; measured where not given.

    Examples
    --------
    >>> count_workers(4, cases=3, memory=0), count_workers("auto", 100, memory=10, free=10)
    (3, 1)
    """
    if wanted != "auto":
        return max(1, min(wanted, cases))
    from joblib import cpu_count

    fit = int(cpu_count())
    if memory > 0:
        fit = min(fit, int(MEMORY_SHARE * (free_memory() if free is None else free) / memory))
    return max(1, min(fit, cases))


def free_memory() -> int:
    """Return the bytes that processes here may still take, a container's limit included."""
    free = int(psutil.virtual_memory().available)
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()).isdigit():
        free = min(free, int(text) - int(used.read_text()))
    return max(free, 0)


def run_here(calls: Mapping[str, Callable[[], Outcome]]) -> Iterator[Outcome]:
    """Run one call after another in this process."""
    for call in calls.values():
        yield call()


def run_processes(calls: Mapping[str, Callable[[], Outcome]], workers: int) -> Iterator[Outcome]:
    """Run calls in processes of one numeric thread each, and yield outcomes as they come.

    A process that dies (out of memory, most likely) takes its neighbours' cases with it; those
    still open are then tried one at a time, and the one that kills its process again is set aside.
    """
    from concurrent.futures.process import BrokenProcessPool

    from joblib import parallel_config

    left = dict(calls)
    try:
        with parallel_config(backend="loky", inner_max_num_threads=1):
            for outcome in _parallel(_watched(left), workers):
                left.pop(outcome.case)
                yield outcome
    except BrokenProcessPool:
        logger.warning("a worker process died; trying its cases one at a time")
        yield from _one_by_one(left)


def run_cluster(calls: Mapping[str, Callable[[], Outcome]], scheduler: str) -> Iterator[Outcome]:
    """Run calls on a dask cluster; its workers see the same files under the same paths."""
    from joblib import parallel_config

    with ExitStack() as stack:
        stack.enter_context(_client(scheduler))
        stack.enter_context(parallel_config(backend="dask", wait_for_workers_timeout=60))
        yield from _parallel(_concealed(calls), -1)


def run_team(
    calls: Mapping[str, Callable[[], Outcome]], team: Team, device: str
) -> Iterator[Outcome]:
    """Run calls in all processes of a launch, each taking the next one that is free.

    Raises
    ------
    StageError
        If another process failed, as it does where it has no device of its own.
    """
    name = f"cases/{team.orders}"
    team.order(_help_with, _concealed(calls), name, device)
    own = _free(calls, team, name)
    left = dict.fromkeys(calls)
    while left:
        team.check()
        done = [one for case in left if (one := team.hear(f"{name}/{case}")) is not None]
        done += [one for one in (next(own, None),) if one is not None]
        for outcome in done:
            left.pop(outcome.case)
            yield outcome
        if not done:
            time.sleep(POLL_S)


def _help_with(calls: Mapping[str, Callable[[], Outcome]], name: str, device: str) -> None:
    """Run calls beside the first process, and tell it how they ended."""
    team = current()
    assert team is not None  # only a team is ordered to help
    check_gpu(device)
    for outcome in _free(calls, team, name):
        team.tell(f"{name}/{outcome.case}", outcome)


def _free(calls: Mapping[str, Callable[[], Outcome]], team: Team, name: str) -> Iterator[Outcome]:
    """Run the calls that no other process has taken, in order."""
    waiting = list(calls.values())
    while not team.ended() and (number := team.count(name)) <= len(waiting):
        yield waiting[number - 1]()


def stop_processes() -> None:
    """Kill the worker processes that joblib keeps for reuse, if it has any."""
    import sys

    if "joblib.externals.loky.reusable_executor" in sys.modules:
        from joblib.externals.loky import reusable_executor

        executor = reusable_executor._executor
        if executor is not None:
            executor.shutdown(wait=True, kill_workers=True)


def _parallel(calls: Mapping[str, Callable[[], Outcome]], workers: int) -> Iterator[Outcome]:
    """Hand calls to joblib's current backend."""
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
    with closing(parallel(delayed(_call)(call) for call in list(calls.values()))) as outcomes:
        yield from outcomes


def _call(call: Callable[[], Outcome]) -> Outcome:
    return call()


def _concealed(calls: Mapping[str, Callable[[], Outcome]]) -> dict[str, Callable[[], Outcome]]:
    """Let what other processes write show no more of the patients than this one's log."""
    words = hidden_words()
    return {case: partial(_call_concealed, call, words) for case, call in calls.items()}


def _call_concealed(call: Callable[[], Outcome], words: Mapping[str, str]) -> Outcome:
    conceal_here(words)
    return call()


def _watched(calls: Mapping[str, Callable[[], Outcome]]) -> dict[str, Callable[[], Outcome]]:
    """Let the processes that run the calls end when this one is killed."""
    parent = os.getpid()
    concealed = _concealed(calls)
    return {case: partial(_call_as_child, call, parent) for case, call in concealed.items()}


def _call_as_child(call: Callable[[], Outcome], parent: int) -> Outcome:
    _end_with(parent)
    return call()


@cache
def _end_with(parent: int) -> None:
    """End this process soon after its parent has gone; joblib's would wait for minutes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def _one_by_one(calls: Mapping[str, Callable[[], Outcome]]) -> Iterator[Outcome]:
    """Run each call in a process that only it can kill."""
    from concurrent.futures.process import BrokenProcessPool

    from joblib.externals.loky import get_reusable_executor

    for case, call in _watched(calls).items():
        executor = get_reusable_executor(max_workers=1, kill_workers=True)
        try:
            yield executor.submit(_call, call).result()
        except BrokenProcessPool:
            reason = (
                f"case {case}: its worker process was killed, most likely for want of memory; "
                "give the machine more memory, or exclude the case in the manifest"
            )
            yield Outcome(case, reason)


def _client(scheduler: str) -> AbstractContextManager[Any]:
    """Connect to a dask scheduler."""
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingExtraError(
            "compute.scheduler needs dask; install it with: pip install 'medseg[distributed]'"
        ) from error
    try:
        client: AbstractContextManager[Any] = Client(scheduler, timeout=30)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise StageError(
            f"compute.scheduler: nothing answers at {scheduler} ({error}); start a dask scheduler "
            "there, or leave compute.scheduler out"
        ) from error
    return client
