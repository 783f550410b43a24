"""After a loss that is not finite: back to the last good state, with half the step size."""

from __future__ import annotations

import copy
import logging
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

from medseg.training.meter import NotFiniteError

if TYPE_CHECKING:
    from medseg.training.learner import Learner
    from medseg.training.state import State

logger = logging.getLogger(__name__)

MOST_RECOVERIES = 3
"""Times that a training goes back before it gives up."""
STEP_FACTOR = 0.5
"""What the learning rate is multiplied by each time, for the rest of the training."""
ONLY_FORWARD = ("seconds", "validation_seconds", "longest_validation", "lr_scale", "recoveries")
"""Fields of the state that going back leaves alone: time is not given back."""


def check_sound(learner: Learner, state: State, *, alone: bool = False) -> None:
    """Raise, in every process alike, if a loss or a weight is not finite in any of them.

    Weights are looked at too, running statistics included: a gradient can be infinite one step
    before the loss is. Other buffers are the network's own affair (a mask may hold infinities).

    Parameters
    ----------
    learner : Learner
    state : State
    alone : bool
        Ask no other process.

    Raises
    ------
    NotFiniteError
    """
    module = learner.module
    running = [b for n, b in module.named_buffers() if n.endswith(("running_mean", "running_var"))]
    values = [*module.parameters(), *running]
    finite = torch.stack([v.isfinite().all() for v in values]).all()
    bad = torch.where(finite, math.inf, float(state.step)).double()
    bad = torch.minimum(bad, state.recent.bad_step.to(bad.device))
    if learner.fabric.world_size > 1 and not alone:
        distributed.all_reduce(bad, distributed.ReduceOp.MIN)
    first = float(bad)
    if math.isfinite(first):
        raise NotFiniteError(int(first))


def snapshot(learner: Learner, state: State) -> dict[str, Any]:
    """Copy all that training changes to host memory."""
    copied: dict[str, Any] = _to_host(learner.content(state))
    return copied


def go_back(learner: Learner, state: State, good: dict[str, Any], error: NotFiniteError) -> None:
    """Put everything back to a snapshot, and halve the learning rate.

    Raises
    ------
    NotFiniteError
        The error itself, once that was done `MOST_RECOVERIES` times.
    """
    if state.recoveries >= MOST_RECOVERIES:
        raise error
    kept = {name: getattr(state, name) for name in ONLY_FORWARD}
    vars(state).update(vars(learner.load(_to_host(good))))
    vars(state).update(kept)
    state.recoveries += 1
    state.lr_scale *= STEP_FACTOR
    logger.warning(
        "the loss or the weights were not finite at step %d: back to step %d, learning rate times "
        "%g from there on (%d of at most %d times); if this goes on, lower train.lr or "
        "train.gradient_clip, or set train.precision=32-true",
        error.step,
        state.step,
        state.lr_scale,
        state.recoveries,
        MOST_RECOVERIES,
    )


def _to_host(value: Any) -> Any:
    """Copy a nest of dicts, lists and tensors; tensors go to the host."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _to_host(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_to_host(item) for item in value)
    return copy.deepcopy(value)
