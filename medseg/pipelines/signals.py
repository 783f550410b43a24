"""Ctrl-C and SIGTERM end a run the same way: resumable, with no process left behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import psutil

from medseg.pipelines.workers import stop_processes

GRACE_S = 3.0


class Interrupted(KeyboardInterrupt):
    """SIGTERM came."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM into an exception while the context lasts (in the main thread; else nothing)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise(_signum: int, _frame: FrameType | None) -> None:
    raise Interrupted


def stop_children() -> None:
    """Stop every process that this one started: ask first, then kill."""
    stop_processes()
    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()
    _, alive = psutil.wait_procs(children, timeout=GRACE_S)
    for child in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            if "resource_tracker" not in " ".join(child.cmdline()):  # ends by itself, cleaning up
                child.kill()
