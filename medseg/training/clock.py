"""Time and steps used: what is due, and what can still be afforded."""

from __future__ import annotations

import logging
import math
import time

from lightning_fabric import Fabric

from medseg.training import plateau
from medseg.training.meter import Meter
from medseg.training.schedule import lr_factor
from medseg.training.state import State
from medseg.training.task import Monitor, Task
from medseg.training.validation import voxels_to_predict

logger = logging.getLogger(__name__)

LOG_POINTS = 100
"""Times that the training loss is logged over the budget."""
PLATEAU_LOG_POINTS = 1000
"""The same over the bound of a plateau budget, most of which is seldom used."""
TOLD_WAIT = 0.05
"""Share of the time that the device waits for data from which it is told beside the bar."""
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
        self.wait_share = 0.0
        """Of the time since the last logging point but one, what the device waited for data."""
        self.validation_steps = FORWARD_SHARE * predicted / seen
        self.saved()
        self.progress()

    def progress(self) -> float:
        """Bring ``state.seconds`` up to date; return the share of the budget used, at most 1."""
        state, budget = self.state, self.recipe.budget
        state.seconds = time.monotonic() - self.started
        if self.fabric.world_size > 1:  # the first process has the clock
            state.seconds = float(self.fabric.broadcast(state.seconds))
        reserve = 0.0
        if budget.seconds is not None:
            reserve = min(self.expected_validation(), RESERVE_SHARE * budget.total)
        self.used, self.total = budget.used(state.step, state.seconds), budget.total - reserve
        end = self.total
        if budget.plateau:
            if self.used >= plateau.cool_down_starts_by(self.total):
                self.cool_down("the bound is near")
            end = plateau.end(self.total, state.cool_down_from)
        self.share = min(1.0, self.used / end)
        return self.share

    def lr(self) -> float:
        """Return the learning rate where `progress` found the training."""
        recipe, state = self.recipe, self.state
        if recipe.budget.plateau:
            factor = plateau.lr_factor(self.used, self.total, state.cool_down_from)
        elif recipe.self_correction is not None:
            factor = recipe.self_correction.lr_factor(self.share, recipe.schedule)
        else:
            factor = lr_factor(self.share, recipe.schedule)
        return recipe.lr * state.lr_scale * factor

    def logs_due(self) -> int:
        """Return how many logging points are due by now; the last is at the end."""
        points = PLATEAU_LOG_POINTS if self.recipe.budget.plateau else LOG_POINTS
        return int(self.share * points + 1e-9)

    def validations_due(self) -> int:
        """Return how many validations are due by now; the last is at the end."""
        if not self.recipe.budget.plateau:
            return int(self.share * self.recipe.validations + 1e-9)
        cool = self.state.cool_down_from  # none is due while the rate falls
        due = plateau.validations_due(self.used if cool is None else cool, self.total)
        return due + (self.share >= 1)

    def watch_plateau(self) -> None:
        """Begin to cool down once validation has risen no more for long enough."""
        late = self.used >= plateau.LEAST_SHARE * self.total
        if self.recipe.budget.plateau and late and plateau.has_stalled(self.state.course()):
            self.cool_down("validation rises no more")

    def cool_down(self, why: str) -> None:
        """Let the learning rate fall to 0 from here on, unless it does already."""
        if self.state.cool_down_from is None:
            self.state.cool_down_from = self.used
            logger.info("step %d: %s; cooling down", self.state.step, why)

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
        if self.fabric.world_size == 1:  # several processes look together, where they all are
            recent.check()
        state, budget = self.state, self.recipe.budget
        note = f"step {state.step}, loss {recent.means()['loss']:.3f}"
        if state.best_dice:
            name, best = state.best
            note += f", best {name} {best:.3f}"
        if self.wait_share > TOLD_WAIT:
            note += f", waits {self.wait_share:.0%} for data"
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
