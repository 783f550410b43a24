"""Memory layout and compilation: by rule on a CPU, by a short trial on the GPU that will train."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from medseg.inference.precision import autocast
from medseg.networks import Prediction, build_network
from medseg.training.task import Recipe, Task

logger = logging.getLogger(__name__)

WARM_STEPS, TIMED_STEPS = 3, 10
WORTH = 0.95
"""A choice other than the rule's must take at most this share of its time: below that it is noise,
and two runs should not differ by noise."""
LONG_ENOUGH_S = 1200.0
LONG_ENOUGH_STEPS = 20_000
"""Budgets under which ``compile: auto`` does not try: compiling alone takes minutes."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How the network is computed; kept in the checkpoint, so that a resumed run goes on alike."""

    channels_last: bool
    compile: bool = False

    def layout(self, ndim: int) -> torch.memory_format:
        """Return the memory format for images of 2 or 3 axes."""
        if not self.channels_last:
            return torch.contiguous_format
        return torch.channels_last_3d if ndim == 3 else torch.channels_last

    def to_dict(self) -> dict[str, bool]:
        """Return plain values, for a checkpoint."""
        return asdict(self)


Timer = Callable[[nn.Module, Speed], float]
"""Returns seconds per training step of a network."""


def choose_speed(fabric: Fabric, task: Task) -> Speed | None:
    """Choose for a task by a trial on the device; None where the rule of thumb stands unmeasured.

    On CUDA another choice than the rule's must be `WORTH` it. The first process decides for all.
    """
    if fabric.device.type != "cuda":
        return None
    chosen: dict[str, bool] = {}
    if fabric.is_global_zero:
        module = build_network(task.plan.network, task.plan.slice_axis)
        rule = rule_of_thumb(module, fabric.device, task.recipe)
        chosen = fastest(module, rule, task.recipe, step_timer(task, fabric.device)).to_dict()
    return Speed(**fabric.broadcast(chosen))


def rule_of_thumb(module: nn.Module, device: torch.device, recipe: Recipe) -> Speed:
    """Return what is known without measuring.

    Without mixed precision nothing is gained by channels-last. On a CPU bfloat16 convolutions are
    faster in it, 2-D and 3-D (measured on two cores); on CUDA 2-D ones are. ``torch.compile`` is
    off unless asked for: on a CPU a first step did not finish in minutes.
    """
    mixed = recipe.precision != "32-true"
    volumes = any(p.ndim == 5 for p in module.parameters())
    last = mixed and (not volumes or device.type == "cpu")
    return Speed(channels_last=last, compile=recipe.compile is True)


def lay_out(module: nn.Module, way: Speed) -> None:
    """Bring the kernels of convolutions to a memory layout, in place.

    ``module.to(memory_format=...)`` refuses a 3-D network with a parameter of four axes, such as a
    factor per channel of shape (channels, 1, 1, 1).
    """
    ndim = 3 if any(p.ndim == 5 for p in module.parameters()) else 2
    layout = way.layout(ndim)
    for value in (*module.parameters(), *module.buffers()):
        if value.ndim == ndim + 2:
            value.data = value.data.to(memory_format=layout)


def fastest(module: nn.Module, rule: Speed, recipe: Recipe, timer: Timer) -> Speed:
    """Return the rule, or what a trial shows to be faster."""
    rule = replace(rule, compile=False)
    times = {rule: timer(module, rule)}
    if recipe.precision != "32-true":
        other = Speed(channels_last=not rule.channels_last)
        times[other] = timer(module, other)
    best = _worth(times, rule)
    long = recipe.budget.total >= (
        LONG_ENOUGH_STEPS if recipe.budget.seconds is None else LONG_ENOUGH_S
    )
    if recipe.compile is True:
        best = replace(best, compile=True)
    elif recipe.compile == "auto" and long:
        compiled = replace(best, compile=True)
        try:
            times[compiled] = timer(module, compiled)
        except (RuntimeError, ImportError, OSError) as error:  # the compiler, or none is installed
            logger.warning("torch.compile does not work here, going on without it: %s", error)
        else:
            best = _worth({best: times[best], compiled: times[compiled]}, best)
    told = ", ".join(f"{_words(way)} {seconds * 1000:.1f} ms" for way, seconds in times.items())
    logger.info("a training step: %s; chosen: %s", told, _words(best))
    return best


def step_timer(task: Task, device: torch.device) -> Timer:
    """Return a timer of forward and backward passes of batches as the task has them.

    Networks and random generators are left as they were.
    """
    cuda = [device] if device.type == "cuda" else []

    def wait() -> None:
        for one in cuda:
            torch.cuda.synchronize(one)

    def timer(module: nn.Module, way: Speed) -> float:
        size = task.plan.patch_size
        with torch.random.fork_rng(devices=cuda):
            trial: Any = copy.deepcopy(module).to(device).train()
            lay_out(trial, way)
            trial = torch.compile(trial) if way.compile else trial
            channels = int(task.plan.network.arguments["in_channels"])
            image = torch.randn(task.recipe.batch_size, channels, *size, device=device)
            started = 0.0
            for step in range(WARM_STEPS + TIMED_STEPS):
                if step == WARM_STEPS:
                    wait()
                    started = time.monotonic()
                with autocast(device, task.recipe.precision):
                    output = trial(image)
                prediction = output if isinstance(output, Prediction) else Prediction(output)
                scales = [prediction.logits, *prediction.aux]
                loss = torch.stack([scale.float().square().mean() for scale in scales]).sum()
                loss.backward()  # type: ignore[no-untyped-call]
                trial.zero_grad()
            wait()
            ended = time.monotonic()
        del trial, image
        if cuda:
            torch.cuda.empty_cache()
        return (ended - started) / TIMED_STEPS

    return timer


def _worth(times: dict[Speed, float], rule: Speed) -> Speed:
    """Return the fastest way if it is clearly faster than ``rule``."""
    best = min(times, key=lambda way: times[way])
    return best if times[best] <= WORTH * times[rule] else rule


def _words(way: Speed) -> str:
    """Say a choice."""
    return f"{'channels last' if way.channels_last else 'contiguous'}{', compiled' * way.compile}"
