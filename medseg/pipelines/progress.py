"""Bars with the time left on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from medseg.stages.context import Progress as StageProgress

logger = logging.getLogger(__name__)

PLAIN_EVERY_S = 10.0


def clock(seconds: float) -> str:
    """Write a duration as people do.

    Examples
    --------
    >>> clock(72), clock(3725)
    ('1:12', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Bar:
    """One task of a rich display."""

    def __init__(self, display: Progress, task: TaskID) -> None:
        self.display, self.task = display, task

    def advance(self, amount: float = 1.0, *, note: str = "") -> None:
        """Move on."""
        self.display.update(self.task, advance=amount, note=note)


class _Lines:
    """One task told by log lines."""

    def __init__(self, name: str, total: float, unit: str, every_s: float) -> None:
        self.name, self.total, self.unit, self.every_s = name, total, unit, every_s
        self.done = 0.0
        self.started = self.told = time.monotonic()

    def advance(self, amount: float = 1.0, *, note: str = "") -> None:
        """Move on, and say so if the last line is some time ago."""
        self.done += amount
        now = time.monotonic()
        if now - self.told >= self.every_s and self.done > 0:
            self.told = now
            left = (now - self.started) / self.done * max(self.total - self.done, 0.0)
            done, total = math.floor(self.done + 1e-6), round(self.total)  # shares: nearly 1
            tail = f" ({note})" if note else ""
            unit = self.unit if self.unit.endswith("s") else f"{self.unit}s"
            logger.info("%s %s/%s %s, %s left%s", self.name, done, total, unit, clock(left), tail)


class _Silent:
    """One task that nobody watches."""

    def advance(self, amount: float = 1.0, *, note: str = "") -> None:
        """Do nothing."""


class Display:
    """Progress of the tasks of a run.

    Parameters
    ----------
    console : Console
        Where bars go, if it is a terminal.
    quiet : bool
        Show nothing.
    every_s : float
        Seconds between plain lines.
    """

    def __init__(
        self, console: Console | None = None, *, quiet: bool = False, every_s: float = PLAIN_EVERY_S
    ) -> None:
        self.console, self.quiet, self.every_s = console, quiet, every_s

    @contextmanager
    def open(self, name: str, total: float, unit: str) -> Iterator[StageProgress]:
        """Show one task until the context ends."""
        if self.quiet:
            yield _Silent()
        elif self.console is not None and self.console.is_terminal:
            with Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", style="dim"),
                console=self.console,
                transient=True,
            ) as display:
                yield _Bar(display, display.add_task(name, total=total, unit=unit, note=""))
        else:
            yield _Lines(name, total, unit, self.every_s)
