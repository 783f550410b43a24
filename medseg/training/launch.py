"""Run the loop in this process, in one process per device, or in all that a launcher started."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import distributed

from medseg.errors import ConfigError, MedsegError, StageError
from medseg.inference.precision import computes_bf16
from medseg.team import Team, check_gpu, current
from medseg.training.fabric import make_fabric
from medseg.training.loop import fit
from medseg.training.spawn import GONE, SilentMonitor, first_line, spawn
from medseg.training.state import State
from medseg.training.task import Arithmetic, Monitor, Task


def train(task: Task, monitor: Monitor, *, device: str = "cpu", devices: int = 1) -> State:
    """Train on one device, or data-parallel on several (of which ``device`` names the kind).

    Several processes see ``devices`` times the batch. Where a launcher started them (see
    `medseg.team`) they train together; else they are started here. The first one's metrics,
    progress and log come back to ``monitor`` and to this process.

    Parameters
    ----------
    task : Task
    monitor : Monitor
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``.
    devices : int
        Processes; on CUDA one per GPU.

    Raises
    ------
    ConfigError
        If there are fewer GPUs, or a launcher started another number of processes.
    StageError
        If one of the processes failed, with its reason.
    """
    team = current()
    if team is not None:
        return _lead(team, task, monitor, device=device, devices=devices)
    kind, _, number = device.partition(":")
    available = torch.cuda.device_count()
    if kind == "cuda" and devices > available:
        raise ConfigError(f"train.devices is {devices}; this machine has {available} CUDA devices")
    if devices == 1:
        where: Any = [int(number or 0)] if kind == "cuda" else 1
        return fit(make_fabric(kind, where, task), task, monitor)
    return spawn(task, monitor, kind, devices)


def choose_precision(device: str) -> Arithmetic:
    """Return what ``precision: auto`` means on a device.

    ``bf16-mixed`` where it computes bfloat16 natively, ``16-mixed`` on other CUDA devices, else
    ``32-true``.
    """
    where = torch.device(device)
    if computes_bf16(where):
        return "bf16-mixed"
    return "16-mixed" if where.type == "cuda" else "32-true"


def join(task: Task, device: str, monitor: Monitor | None = None) -> State:
    """Train as one of the processes that a launcher started; each of them calls this.

    Raises
    ------
    StageError
        If another process failed before the training began, or this one has no GPU.
    """
    team = current()
    assert team is not None  # only a team is ordered to join
    kind = device.partition(":")[0]
    check_gpu(device)
    team.meet()
    team.open_group(kind)
    where: Any = [0] if kind == "cuda" else 1  # its own GPU is the only one it sees
    fabric = make_fabric(kind, where, task, DDPStrategy(), team.place)
    fabric.launch()
    return fit(fabric, task, monitor or SilentMonitor())


def _lead(team: Team, task: Task, monitor: Monitor, *, device: str, devices: int) -> State:
    """Train with all processes of a launch, as the first of them."""
    if devices != team.place.world:
        raise ConfigError(
            f"train.devices is {devices}, and {team.place.world} processes were started; leave "
            "train.devices out, or start as many processes"
        )
    team.order(_help, task, device)
    try:
        return join(task, device, monitor)
    except MedsegError:
        raise
    except RuntimeError as error:
        team.check()  # what broke the exchange may have been told
        if _is_exchange(error):
            raise StageError(GONE.format(first_line(error))) from error
        raise


def _help(task: Task, device: str) -> None:
    """Train with the first process, which keeps the results."""
    join(task, device)


def _is_exchange(error: RuntimeError) -> bool:
    """Whether an error came from the exchange between processes."""
    named = any(word in str(error) for word in ("gloo", "NCCL", "Connection closed by peer"))
    return named or isinstance(error, distributed.DistError)
