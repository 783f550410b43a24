"""The processes that torchrun or srun started for one command: the first leads, the others help.

The first process runs the pipeline. The others wait for its orders: to join a training, to take
cases of an inference, to end. Orders go through the launcher's store (a key-value server at
``MASTER_ADDR:MASTER_PORT``), tensors through a process group that the first training opens.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping
from datetime import timedelta
from typing import Any

from medseg.errors import MedsegError, StageError
from medseg.launcher import Place, find_place, take_own_gpu

logger = logging.getLogger(__name__)

POLL_S = 0.2
"""Between two looks for an order: asking often keeps the connection open through a long ingest."""
GATHER_LIMIT = timedelta(minutes=10)
"""Time for all processes to find each other; nodes of one job may start minutes apart."""
EXCHANGE_LIMIT = timedelta(hours=12)
"""Time that one process may wait for another in a training, such as at the end of a validation."""
GRACE_S = 20.0
"""Time for the first process to say how it ends, and for the others to hear it."""


class Team:
    """One process's connection to the others.

    Parameters
    ----------
    place : Place
    store : torch.distributed.Store
        Shared by all.
    """

    def __init__(self, place: Place, store: Any) -> None:
        self.place, self.store = place, store
        self.orders = self.meetings = 0

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self.place.rank == 0

    def order(self, function: Callable[..., None], *arguments: Any) -> None:
        """Let every other process call ``function(*arguments)``, a module-level function."""
        self.store.set(f"order/{self.orders}", pickle.dumps((function, arguments)))
        self.orders += 1

    def follow(self) -> int:
        """Do what the first process orders until it ends; return the exit code.

        It is 0 wherever the first process said that it ends: how, is for that one to tell.
        """
        try:
            while (order := self._next_order()) is not None:
                function, arguments = order
                function(*arguments)
            return self._leave()
        except KeyboardInterrupt:
            return self._give_up("", 130)
        except Exception as error:  # noqa: BLE001 - told by the first process, or else here
            return self._give_up(f"{self._name()}: {_words(error)}", 1)

    def _next_order(self) -> tuple[Callable[..., None], tuple[Any, ...]] | None:
        """Wait for an order; None: the first process ends."""
        key = f"order/{self.orders}"
        while not self.ended():
            if self.store.check([key]):
                self.orders += 1
                order: tuple[Callable[..., None], tuple[Any, ...]]
                order = pickle.loads(self.store.get(key))
                return order
            time.sleep(POLL_S)
        return None

    def _give_up(self, reason: str, code: int) -> int:
        """Tell the first process, and leave it the last word for a while."""
        until = time.monotonic() + GRACE_S
        try:
            if reason:
                self.store.set("failed", reason)
            self.close_group()  # whoever waits for a tensor of this process is told so
            while time.monotonic() < until:
                if self.ended():
                    return self._leave()
                time.sleep(POLL_S)
        except RuntimeError as error:  # the store went with the first process
            logger.debug("%s: %s", self._name(), error)
            reason = f"{self._name()}: the first process is gone; it was probably killed"
        except KeyboardInterrupt:  # asked again: no more waiting
            reason = ""
        if reason:
            sys.stderr.write(f"medseg: {reason}\n")
        return code

    def check(self) -> None:
        """Raise if another process has failed.

        Raises
        ------
        StageError
            With what it said.
        """
        if self.store.check(["failed"]):
            raise StageError(self.store.get("failed").decode())

    def meet(self) -> None:
        """Wait until every process is here: after it, each is ready to exchange tensors.

        Raises
        ------
        StageError
            If another process has failed.
        """
        key, self.meetings = f"meeting/{self.meetings}", self.meetings + 1
        here = self.store.add(key, 1)
        while here < self.place.world:
            self.check()
            time.sleep(POLL_S)
            here = self.store.add(key, 0)

    def count(self, name: str) -> int:
        """Return how often all processes together have called this with ``name``."""
        return int(self.store.add(f"count/{name}", 1))

    def tell(self, name: str, value: Any) -> None:
        """Leave a value for the first process."""
        self.store.set(f"told/{name}", pickle.dumps(value))

    def hear(self, name: str) -> Any:
        """Return what another process left, once; None where there is nothing."""
        key = f"told/{name}"
        if not self.store.check([key]):
            return None
        value = pickle.loads(self.store.get(key))
        self.store.delete_key(key)
        return value

    def open_group(self, kind: str) -> None:
        """Open the process group, or find it open; every process calls this.

        Parameters
        ----------
        kind : str
            ``cpu`` or ``cuda``. Numbers on the host go by gloo in either case, so that no GPU has
            to be waited for; tensors on GPUs by nccl.
        """
        from torch import distributed
        from torch.distributed.distributed_c10d import PrefixStore

        if not distributed.is_initialized():
            distributed.init_process_group(
                backend_for(kind),
                store=PrefixStore("group", self.store),
                rank=self.place.rank,
                world_size=self.place.world,
                timeout=EXCHANGE_LIMIT,
            )

    def close_group(self) -> None:
        """Close the process group, if it is open."""
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()

    def ended(self) -> bool:
        """Whether the first process has said that it ends."""
        return bool(self.store.check(["end"]))

    def end(self) -> None:
        """Let all others end; the store may live in this process, so wait until they know."""
        until = time.monotonic() + GRACE_S
        try:
            self.store.set("end", b"")
            while self.store.add("left", 0) < self.place.world - 1 and time.monotonic() < until:
                time.sleep(POLL_S / 4)
        except RuntimeError as error:  # the launcher has gone, and it ends the others
            logger.debug("%s: %s", self._name(), error)

    def _leave(self) -> int:
        """Say that this process knows of the end."""
        self.store.add("left", 1)
        return 0

    def _name(self) -> str:
        place = self.place
        return f"process {place.rank} of {place.world} (on {socket.gethostname()})"


_here: Team | None = None


def current() -> Team | None:
    """Return the team of this process; None where it runs alone."""
    return _here


@contextlib.contextmanager
def joined(environ: MutableMapping[str, str]) -> Iterator[Team | None]:
    """Find the other processes of a launch; yields None where there are none.

    At the end of the context the process group is closed, and where this is the first process all
    others are told to end.

    Raises
    ------
    StageError
        If they do not find each other.
    """
    global _here
    place = find_place(environ)
    if place is None:
        yield None
        return
    take_own_gpu(place, environ)
    team = Team(place, open_store(place))
    _here = team
    try:
        yield team
    finally:
        _here = None
        team.close_group()
        if team.leads:
            team.end()


def open_store(place: Place) -> Any:
    """Connect to the store; where the launcher has none, the first process opens it.

    Raises
    ------
    StageError
        If it cannot be reached.
    """
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = place.address, str(place.port)
    try:
        store, _, _ = next(rendezvous("env://", place.rank, place.world, timeout=GATHER_LIMIT))
    except (RuntimeError, ValueError) as error:
        raise StageError(
            f"the {place.world} processes do not find each other at {place.address}:{place.port} "
            f"({str(error).splitlines()[0]}); check that all of them were started and that the "
            "port is free and open, or name others in MASTER_ADDR and MASTER_PORT"
        ) from error
    return PrefixStore("medseg", store)


def backend_for(kind: str) -> str:
    """Return torch's name of what carries tensors: gloo, and nccl between GPUs."""
    return "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"


def check_gpu(device: str) -> None:
    """Refuse a CUDA device where this process has none of its own.

    Raises
    ------
    StageError
        It says how many processes to start.
    """
    import torch

    if device.startswith("cuda") and torch.cuda.device_count() == 0:
        raise StageError(
            "there is no CUDA device for this process; start one process per GPU at most, or run "
            "with --device cpu"
        )


def _words(error: Exception) -> str:
    """Say an error; one that was not foreseen with its kind."""
    return str(error) if isinstance(error, MedsegError) else f"{type(error).__name__}: {error}"
