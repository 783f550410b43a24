"""How long each step of a case takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class StepTimes:
    """Adds up wall seconds per step, in the order in which steps are first met.

    Steps of a case are ``read``, ``preprocess``, ``network``, ``decode``, ``postprocess`` and
    ``write``; each is timed by who does it. On an accelerator, ``decode`` includes waiting for the
    network, which runs behind.

    Examples
    --------
    >>> times = StepTimes()
    >>> with times("read"):
    ...     pass
    >>> times.add("network", 20.0)
    >>> times.add("network", 1.5)
    >>> str(times)
    'read 0.0 s, network 21.5 s'
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Time a block, also where it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(step, time.perf_counter() - started)

    def add(self, step: str, seconds: float) -> None:
        """Add to a step."""
        self._seconds[step] = self._seconds.get(step, 0.0) + seconds

    @property
    def seconds(self) -> Mapping[str, float]:
        """Return the seconds of each step."""
        return dict(self._seconds)

    def __str__(self) -> str:
        return ", ".join(f"{step} {seconds:.1f} s" for step, seconds in self._seconds.items())


def timed(items: Iterator[Item], times: StepTimes, step: str) -> Iterator[Item]:
    """Time what an iterator does between its items."""
    while True:
        started = time.perf_counter()
        item = next(items, None)
        times.add(step, time.perf_counter() - started)
        if item is None:
            return
        yield item
