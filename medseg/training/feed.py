"""The way of a batch to the device, and the time that the device waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

import torch

from medseg.training.data import Batch


class Feed(Protocol):
    """Batches on the device, without end."""

    def __next__(self) -> Batch: ...

    def waited(self) -> float:
        """Return the seconds that the device waited for data since this was last asked."""


def open_feed(batches: Iterator[Batch], device: torch.device) -> Feed:
    """Return the feed for a kind of device.

    Parameters
    ----------
    batches : iterator of Batch
        On the host; see `medseg.training.data.load_batches`.
    device : torch.device
    """
    return CudaFeed(batches, device) if device.type == "cuda" else HostFeed(batches, device)


class HostFeed:
    """Batches for a device that computes while it is called: what loading takes, it waits."""

    def __init__(self, batches: Iterator[Batch], device: torch.device) -> None:
        self.batches, self.device = batches, device
        self._waited = 0.0

    def __next__(self) -> Batch:
        started = time.monotonic()
        batch = ready(next(self.batches)).to(self.device)
        self._waited += time.monotonic() - started
        return batch

    def waited(self) -> float:
        """Return the seconds spent on loading since this was last asked."""
        seconds, self._waited = self._waited, 0.0
        return seconds


class CudaFeed:
    """Batches for a GPU, which computes while the host runs ahead of it.

    The next batch is copied on a stream of its own while the current one is computed. A host that
    waits for its loading processes costs nothing as long as the GPU has work, so the time is taken
    on the GPU: from the end of all work that was given to it to the moment it gets more. It is read
    in `waited` alone, so that no step has to be waited for.
    """

    def __init__(self, batches: Iterator[Batch], device: torch.device) -> None:
        self.batches, self.device = batches, device
        self.side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.gaps: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self.ahead = self._copy()

    def __next__(self) -> Batch:
        compute = torch.cuda.current_stream(self.device)
        idle, busy = (_timed_event() for _ in range(2))
        idle.record(compute)  # passes when the steps before are done
        (batch, copied), self.ahead = self.ahead, self._copy()
        compute.wait_event(copied)
        for part in batch:
            if part is not None:
                part.record_stream(compute)  # its memory belongs to the side stream
        busy.record(compute)
        self.gaps.append((idle, busy))
        return batch

    def _copy(self) -> tuple[Batch, torch.cuda.Event]:
        """Begin to copy the next batch; it comes in pinned memory, so nobody waits for the copy."""
        batch = ready(next(self.batches))
        with torch.cuda.stream(self.side):
            moved = batch.to(self.device)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record(self.side)
        return moved, copied

    def waited(self) -> float:
        """Return the seconds the GPU had nothing to do between two steps, since last asked."""
        if not self.gaps:
            return 0.0
        self.gaps[-1][1].synchronize()
        seconds = sum(idle.elapsed_time(busy) for idle, busy in self.gaps) / 1000
        self.gaps = []
        return float(seconds)


def _timed_event() -> torch.cuda.Event:
    """Return an event that notes when the GPU passes it."""
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def ready(batch: Batch) -> Batch:
    """Drop the table of annotated classes where all are: asked on the host, where it is free."""
    whole = batch.annotated is None or bool(batch.annotated.all())
    return batch._replace(annotated=None) if whole else batch
