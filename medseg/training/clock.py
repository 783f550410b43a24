"""Time and steps used: what is due, and what can still be afforded."""

from __future__ import annotations

import math
import time

from lightning_fabric import Fabric

from medseg.training.meter import Meter
from medseg.training.state import State
from medseg.training.task import Monitor, Task
from medseg.training.validation import voxels_to_predict

VALIDATION_SHARE = 0.25
"""Of a time budget, validations take at most about this share: one that would not fit is passed
over, except the last. A budget of steps runs all of them, so that it is reproducible."""
RESERVE_SHARE = 0.25
"""At most this share of a time budget is kept back for the last validation."""
FORWARD_SHARE = 1 / 3
"""A forward pass takes about this share of a training step; the rest is the backward pass."""


class Clock:
    """Keeps ``state.seconds``, in step over all processes, and compares it with the budget.

    Parameters
    ----------
    fabric : Fabric
    task : Task
    state : State
        Time used by earlier attempts is in it.
    """

    def __init__(self, fabric: Fabric, task: Task, state: State) -> None:
        self.fabric, self.recipe, self.state = fabric, task.recipe, state
        self.started = time.monotonic() - state.seconds
        self.told = self.recipe.budget.used(state.step, state.seconds)
        self.told_at = time.monotonic()
        predicted = sum(voxels_to_predict(c, task.plan.patch_size) for c in task.validation)
        seen = task.recipe.batch_size * math.prod(task.plan.patch_size) * fabric.world_size
        self.validation_steps = FORWARD_SHARE * predicted / seen
        self.saved()

    def progress(self) -> float:
        """Bring ``state.seconds`` up to date; return the share of the budget used, at most 1."""
        state, budget = self.state, self.recipe.budget
        state.seconds = time.monotonic() - self.started
        if self.fabric.world_size > 1:  # the first process has the clock
            state.seconds = float(self.fabric.broadcast(state.seconds))
        reserve = 0.0
        if budget.seconds is not None:
            reserve = min(self.expected_validation(), RESERVE_SHARE * budget.total)
        used = budget.used(state.step, state.seconds)
        return min(1.0, used / (budget.total - reserve))

    def expected_validation(self) -> float:
        """Return the seconds that a validation takes: the longest so far, else by the step time."""
        state = self.state
        if state.longest_validation:
            return state.longest_validation
        return self.validation_steps * state.seconds / state.step if state.step else 0.0

    def affords_validation(self) -> bool:
        """Tell whether one more validation keeps within their share of the time used."""
        if self.recipe.budget.seconds is None:
            return True
        one, state = self.expected_validation(), self.state
        return state.validation_seconds + one <= VALIDATION_SHARE * (state.seconds + one)

    def tell(self, monitor: Monitor, recent: Meter) -> None:
        """Move the progress bar about once a second; the loss is looked at then."""
        now = time.monotonic()
        if now - self.told_at < 1 and recent.count > 1:
            return
        recent.check()
        state, budget = self.state, self.recipe.budget
        note = f"step {state.step}, loss {recent.means()['loss']:.3f}"
        if state.best_dice:
            note += f", best Dice {state.best_dice['mean']:.3f}"
        used = min(budget.total, budget.used(state.step, now - self.started))
        monitor.advance(max(0.0, used - self.told), note)
        self.told, self.told_at = max(self.told, used), now

    def finish(self, monitor: Monitor) -> None:
        """Move the progress bar to its end."""
        total = self.recipe.budget.total
        monitor.advance(max(0.0, total - self.told), "")
        self.told = total

    def checkpoint_due(self) -> bool:
        """Tell whether as much work as may be lost has been done since the last checkpoint."""
        every, state = self.recipe.checkpoint_every, self.state
        return every.used(state.step, state.seconds) - self.saved_at >= every.total

    def saved(self) -> None:
        """Note that a checkpoint was written."""
        every, state = self.recipe.checkpoint_every, self.state
        self.saved_at = every.used(state.step, state.seconds)
