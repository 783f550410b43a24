"""What one optimiser step of a plan costs on this device: seconds and memory, by taking some."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from medseg.artefacts import PatchIndex, Plan
from medseg.training.data import Batch
from medseg.training.fabric import make_fabric
from medseg.training.learner import Learner, build_learner
from medseg.training.loop import train_step
from medseg.training.task import Recipe, Task

logger = logging.getLogger(__name__)

WARM_UP = 2
"""Steps before the clock counts: the first ones choose kernels and allocate."""
STEPS = 3
PATIENCE_S = 8.0
"""No further step is begun after this time."""
SAMPLING_S = 0.005


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """One optimiser step: augmentation, forward, loss, backward, update; no reading of patches."""

    seconds: float
    """Median."""
    device_bytes: int
    """Peak of the accelerator's memory; on a CPU that by which the process grew."""
    host_bytes: int
    """Bytes by which the process grew at most."""
    steps: int
    """Steps that the median is of."""


def measure_step(plan: Plan, recipe: Recipe, device: str) -> StepCost | None:
    """Take a few steps on made-up patches of the planned size.

    Random generators are left as they were, and nothing is written.

    Parameters
    ----------
    plan : Plan
        Patch size and network.
    recipe : Recipe
        Batch size, precision, loss, augmentation, optimiser.
    device : str
        ``cpu`` or ``cuda:N``.

    Returns
    -------
    StepCost or None
        None where the device has not enough memory.
    """
    kind, _, number = device.partition(":")
    where: Any = [int(number or 0)] if kind == "cuda" else 1
    task = _task(plan, recipe)
    cuda = [torch.device(device)] if kind == "cuda" else []
    for one in cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(one)
    learner = None
    try:
        with torch.random.fork_rng(cuda), _peak_growth() as host:
            learner = build_learner(make_fabric(kind, where, task), task)
            learner.network.train()
            seconds = _take_steps(learner, task)
        peak = torch.cuda.max_memory_reserved(cuda[0]) if cuda else host[0]
        return StepCost(
            seconds=statistics.median(seconds),
            device_bytes=peak,
            host_bytes=host[0],
            steps=len(seconds),
        )
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        logger.info("a step of %d patches does not fit %s: %s", recipe.batch_size, device, error)
        return None
    finally:
        del learner
        gc.collect()
        if cuda:
            torch.cuda.empty_cache()


def _task(plan: Plan, recipe: Recipe) -> Task:
    """Return a training without cases."""
    nothing = PatchIndex(seed=0, foreground_share=0.0, locations=(), table=Path())
    return Task(recipe=recipe, plan=plan, patches=nothing, train=(), validation=(), folder=Path())


def _take_steps(learner: Learner, task: Task) -> list[float]:
    """Return the seconds of the steps after the warm-up; of the last one where all are slow."""
    recipe, device = task.recipe, learner.fabric.device
    batch = made_up_batch(task.plan, recipe.batch_size)
    began, seconds = time.monotonic(), []
    for step in range(WARM_UP + STEPS):
        started = time.monotonic()
        losses = train_step(learner, batch, recipe.lr, recipe.gradient_clip, step, task)
        float(losses["loss"])  # waits for the device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.monotonic() - started)
        if time.monotonic() - began > PATIENCE_S:
            break
    return seconds[WARM_UP:] or seconds[-1:]


def made_up_batch(plan: Plan, batch_size: int) -> Batch:
    """Return noise, annotated with a slab of each class.

    Slabs rather than noise, since what some losses cost depends on the shape of the truth.
    """
    generator = torch.Generator().manual_seed(0)
    shape, channels = plan.patch_size, plan.in_channels
    image = torch.randn(batch_size, channels, *shape, generator=generator)
    classes = len(plan.scheme.labels) + 1
    longest = max(range(len(shape)), key=lambda axis: shape[axis])
    ramp = torch.arange(shape[longest]) * classes // shape[longest]
    sides = [shape[longest] if axis == longest else 1 for axis in range(len(shape))]
    label: Tensor = ramp.to(torch.int16).reshape(1, *sides).expand(batch_size, *shape)
    annotated = torch.ones(batch_size, classes, dtype=torch.bool)
    return Batch(image, label.contiguous(), annotated)


@contextmanager
def _peak_growth() -> Iterator[list[int]]:
    """Yield a list whose one number becomes the bytes by which this process grew at most.

    What earlier work freed is handed back to the system first: taken again, it would not show as
    growth.
    """
    gc.collect()
    _trim_heap()
    process, done = psutil.Process(), threading.Event()
    before, grown = process.memory_info().rss, [0]

    def watch() -> None:
        while True:
            grown[0] = max(grown[0], process.memory_info().rss - before)
            if done.wait(SAMPLING_S):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield grown
    finally:
        done.set()
        watcher.join()


def _trim_heap() -> None:
    """Return freed memory to the system, where the C library can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
