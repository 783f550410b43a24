"""Train in processes that are started here, one per device."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
from types import FrameType
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import distributed
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from medseg.errors import MedsegError, StageError
from medseg.team import EXCHANGE_LIMIT, backend_for
from medseg.training.checkpoint import load_checkpoint
from medseg.training.fabric import make_fabric
from medseg.training.loop import fit
from medseg.training.state import State
from medseg.training.stop import GracefulStop
from medseg.training.task import Monitor, Task

INTERRUPTED = 130
"""Exit code of a process that stopped for a signal."""
GONE = (
    "train: one of the processes that train together is gone ({}); most likely it was killed for "
    "want of memory; the same command goes on from the last checkpoint"
)


def spawn(task: Task, monitor: Monitor, kind: str, devices: int) -> State:
    """Start one process per device here, train with them, and wait for them.

    The first one's metrics, progress and log come back to ``monitor`` and to this process. A signal
    that comes to this process is passed on: they stop after the step that they are at.

    Raises
    ------
    StageError
        If one of the processes was killed; what else one of them raised on purpose comes through.
    KeyboardInterrupt
        As in `medseg.training.loop.fit`.
    """
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    errors: list[MedsegError] = []
    reader = threading.Thread(target=_read, args=(queue, monitor, errors), daemon=True)
    reader.start()
    strategy = DDPStrategy(
        start_method="spawn", process_group_backend=backend_for(kind), timeout=EXCHANGE_LIMIT
    )
    broken: ProcessRaisedException | ProcessExitedException | None = None
    with _PassedOn() as stop:
        try:
            make_fabric(kind, devices, task, strategy).launch(_Rank(task, queue))
        except (ProcessRaisedException, ProcessExitedException) as error:
            broken = error
        finally:
            queue.put(None)
            reader.join(timeout=10)
            queue.close()
        stop.deliver()
    if errors:
        raise errors[0]
    if isinstance(broken, ProcessExitedException):
        raise StageError(GONE.format(first_line(broken))) from broken
    if broken is not None:
        raise broken
    saved = load_checkpoint(task.folder)
    assert saved is not None  # the last thing that a training does is to write one
    return State.from_dict(saved["state"])


class _PassedOn(GracefulStop):
    """Notes a signal, and passes it on to the processes."""

    def _note(self, signum: int, frame: FrameType | None) -> None:
        """Pass on, then note."""
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, signum)
        super()._note(signum, frame)


class SilentMonitor:
    """Tells nobody."""

    def advance(self, amount: float, note: str) -> None:
        """Do nothing."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Do nothing."""


class QueueMonitor:
    """Sends what it is told to another process."""

    def __init__(self, queue: Any) -> None:
        self.queue = queue

    def advance(self, amount: float, note: str) -> None:
        """Send on."""
        self.queue.put(("advance", amount, note))

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Send on."""
        self.queue.put(("log", metrics, step))


class QueueHandler(logging.Handler):
    """Sends log lines to another process."""

    def __init__(self, queue: Any) -> None:
        super().__init__()
        self.queue = queue

    def emit(self, record: logging.LogRecord) -> None:
        """Send on, with its arguments put in."""
        record.msg, record.args = record.getMessage(), None
        self.queue.put(("record", record, None))


class _Rank:
    """The training as one of several processes runs it (Fabric takes no frozen arguments)."""

    def __init__(self, task: Task, queue: Any) -> None:
        self.task, self.queue = task, queue
        self.level = logging.getLogger("medseg").getEffectiveLevel()

    def __call__(self, fabric: Fabric) -> None:
        """Train."""
        first = fabric.is_global_zero
        monitor = QueueMonitor(self.queue) if first else SilentMonitor()
        log = logging.getLogger("medseg")
        log.addHandler(QueueHandler(self.queue) if first else logging.NullHandler())
        log.setLevel(self.level)
        try:
            fit(fabric, self.task, monitor)
        except MedsegError as error:
            self.queue.put(("error", error, None))
            raise
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)  # torch would take a KeyboardInterrupt for a success
        finally:
            distributed.destroy_process_group()  # else the process ends in an abort


def _read(queue: Any, monitor: Monitor, errors: list[MedsegError]) -> None:
    """Hand on what a process sends, until there is None; collect its errors."""
    while (message := queue.get()) is not None:
        kind, first, second = message
        if kind == "advance":
            monitor.advance(first, second)
        elif kind == "log":
            monitor.log(first, second)
        elif kind == "record":
            logging.getLogger(first.name).handle(first)
        else:
            errors.append(first)


def first_line(error: Exception) -> str:
    """Return the first line of an error, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]
