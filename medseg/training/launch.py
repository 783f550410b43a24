"""Run the loop in this process, or in one process per device."""

from __future__ import annotations

import multiprocessing
import threading
import warnings
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import distributed

from medseg.errors import ConfigError
from medseg.inference.precision import computes_bf16
from medseg.training.checkpoint import load_checkpoint
from medseg.training.loop import fit
from medseg.training.state import State
from medseg.training.task import Arithmetic, Monitor, Task


def train(task: Task, monitor: Monitor, *, device: str = "cpu", devices: int = 1) -> State:
    """Train on one device, or data-parallel on several (of which ``device`` names the kind).

    Several processes see ``devices`` times the batch. The first one's metrics and progress come
    back to ``monitor``.

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
        If there are fewer GPUs.
    """
    kind, _, number = device.partition(":")
    available = torch.cuda.device_count()
    if kind == "cuda" and devices > available:
        raise ConfigError(f"train.devices is {devices}; this machine has {available} CUDA devices")
    if devices == 1:
        where: Any = [int(number or 0)] if kind == "cuda" else 1
        return fit(make_fabric(kind, where, task), task, monitor)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    reader = threading.Thread(target=_read, args=(queue, monitor), daemon=True)
    reader.start()
    try:
        fabric = make_fabric(kind, devices, task, strategy="ddp_spawn")
        fabric.launch(_Rank(task, queue))
    finally:
        queue.put(None)
        reader.join(timeout=10)
        queue.close()
    saved = load_checkpoint(task.folder)
    assert saved is not None  # the last thing that a training does is to write one
    return State.from_dict(saved["state"])


def make_fabric(kind: str, devices: Any, task: Task, strategy: str = "auto") -> Fabric:
    """Return the Fabric that owns device, precision and processes."""
    with warnings.catch_warnings():
        # Fabric notes that a GPU is there and not used; the user has chosen the device.
        warnings.filterwarnings("ignore", message="GPU available but not used")
        return Fabric(
            accelerator=kind, devices=devices, precision=task.recipe.precision, strategy=strategy
        )


def choose_precision(device: str) -> Arithmetic:
    """Return what ``precision: auto`` means on a device.

    ``bf16-mixed`` where it computes bfloat16 natively, ``16-mixed`` on other CUDA devices, else
    ``32-true``.
    """
    where = torch.device(device)
    if computes_bf16(where):
        return "bf16-mixed"
    return "16-mixed" if where.type == "cuda" else "32-true"


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


class SilentMonitor:
    """Tells nobody."""

    def advance(self, amount: float, note: str) -> None:
        """Do nothing."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Do nothing."""


class _Rank:
    """The training as one of several processes runs it (Fabric takes no frozen arguments)."""

    def __init__(self, task: Task, queue: Any) -> None:
        self.task, self.queue = task, queue

    def __call__(self, fabric: Fabric) -> None:
        """Train."""
        monitor = QueueMonitor(self.queue) if fabric.is_global_zero else SilentMonitor()
        try:
            fit(fabric, self.task, monitor)
        finally:
            distributed.destroy_process_group()  # else the process ends in an abort


def _read(queue: Any, monitor: Monitor) -> None:
    """Hand on what `QueueMonitor` sends, until it sends None."""
    while (message := queue.get()) is not None:
        kind, first, second = message
        if kind == "advance":
            monitor.advance(first, second)
        else:
            monitor.log(first, second)
