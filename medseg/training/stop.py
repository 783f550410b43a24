"""Stop between two steps when the user or the system asks for it."""

from __future__ import annotations

import math
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import distributed

SAME_SIGNAL_S = 1.0
"""See ``again_s`` of `GracefulStop`; where several processes train."""


class Stopped(Exception):  # noqa: N818  (a request, not an error)
    """Unwinds from within a validation, whose work is repeated later."""


class GracefulStop:
    """Note SIGINT and SIGTERM instead of being interrupted in the middle of a step.

    Within the context, `requested` says that one came; `deliver` hands it to whoever handled it
    before. A second signal is handed on at once. Outside the main thread nothing is noted.

    Parameters
    ----------
    again_s : float
        A signal within this time of the first is the same one, come twice: of several processes,
        each gets a terminal's Ctrl-C and their launcher's.
    """

    def __init__(self, again_s: float = 0.0) -> None:
        self.signum: int | None = None
        self.again_s, self.first_at = again_s, -math.inf
        self._before: dict[int, Any] = {}

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self.signum is not None

    def agreed(self, fabric: Fabric) -> bool:
        """Return whether a signal came to any of the processes, which all call this together."""
        if fabric.world_size == 1:
            return self.requested
        heard = torch.tensor(self.signum or 0)  # on the host: no GPU is waited for
        distributed.all_reduce(heard, distributed.ReduceOp.MAX)
        if not int(heard):
            return False  # a signal that came meanwhile stays noted for the next call
        self.signum = int(heard)
        return True

    def check(self) -> None:
        """Raise `Stopped` if a signal came."""
        if self.requested:
            raise Stopped

    def deliver(self) -> None:
        """Hand the noted signal to its former handler."""
        if self.signum is not None:
            signum, self.signum = self.signum, None
            self.__exit__(None, None, None)
            signal.raise_signal(signum)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        """Note a first signal; hand on a second one."""
        del frame
        now = time.monotonic()
        again = self.requested and now - self.first_at >= self.again_s
        if not self.requested:
            self.first_at = now
        self.signum = signum
        if again:
            self.deliver()
