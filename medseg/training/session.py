"""All that one training holds on to while it runs."""

from __future__ import annotations

from typing import Any

from lightning_fabric import Fabric

from medseg.sampling.patches import PatchDataset
from medseg.sampling.sampler import PatchSampler
from medseg.training.checkpoint import load_checkpoint, save_checkpoint
from medseg.training.clock import Clock
from medseg.training.data import load_batches
from medseg.training.feed import Feed, open_feed
from medseg.training.learner import build_learner
from medseg.training.meter import NotFiniteError
from medseg.training.recovery import check_sound, go_back, snapshot
from medseg.training.speed import Speed, choose_speed
from medseg.training.stall import StallWatch
from medseg.training.state import State
from medseg.training.task import Monitor, Task

ENDLESS = 2**62
"""Patches in a data set that ends with the budget."""


class Session:
    """The parts of a running training, built anew or from the folder's checkpoint.

    Parameters
    ----------
    fabric : Fabric
    task : Task
    monitor : Monitor
    """

    feed: Feed

    def __init__(self, fabric: Fabric, task: Task, monitor: Monitor) -> None:
        self.fabric, self.task, self.monitor = fabric, task, monitor
        saved = load_checkpoint(task.folder)
        speed = Speed(**saved["speed"]) if saved else choose_speed(fabric, task)
        self.learner = build_learner(fabric, task, speed, resumes=saved is not None)
        self.state = self.learner.load(saved) if saved else State()
        self.clock = Clock(fabric, task, self.state)
        self.sampler = PatchSampler(task.patches, task.train, task.plan.patch_size)
        self.dataset = PatchDataset(
            self.sampler,
            task.train,
            task.plan.scheme,
            length=ENDLESS,
            margin=self.learner.augment.margin([case.grid.shape for case in task.train]),
        )
        self.stall = StallWatch(
            in_memory=self.dataset.in_memory, own_processes=fabric.device.type == "cuda"
        )
        # Without an exact one at hand, what was saved is good: it was looked at before.
        self.good: dict[str, Any] = (saved or {}).get("good") or snapshot(self.learner, self.state)
        self.open_feed()

    def open_feed(self) -> None:
        """Begin to load batches at this step, with the case weights of this state."""
        task, fabric = self.task, self.fabric
        if task.recipe.hard_cases:
            self.sampler.weigh(self.state.cases.weights())
        self.feed = open_feed(
            load_batches(
                self.dataset,
                task.recipe.batch_size,
                fabric.device,
                first=self.state.step,
                rank=fabric.global_rank,
                world=fabric.world_size,
            ),
            fabric.device,
        )

    def cases_of(self, step: int) -> list[str]:
        """Name the cases of this process's batch of a step."""
        size, fabric = self.task.recipe.batch_size, self.fabric
        first = (step * fabric.world_size + fabric.global_rank) * size
        return [self.sampler.case_and_class(n)[0] for n in range(first, first + size)]

    def check(self, *, alone: bool = False) -> None:
        """Raise if losses or weights are not finite; see `check_sound`."""
        check_sound(self.learner, self.state, alone=alone)

    def remember(self) -> None:
        """Take this state as the one to go back to; call it where `check` found nothing.

        It is taken at some logging points and after validations alone, whose steps are the same in
        every run of a budget of steps.
        """
        self.good = snapshot(self.learner, self.state)

    def go_back(self, error: NotFiniteError) -> None:
        """Return to the last good state with half the step size, or raise the error."""
        go_back(self.learner, self.state, self.good, error)
        self.monitor.log({"train/recoveries": float(self.state.recoveries)}, self.state.step)
        self.clock.saved()
        self.open_feed()

    def save(self, *, alone: bool = False) -> None:
        """Write a checkpoint, unless the weights are no longer sound; the first process writes.

        For a budget of steps it holds the good state too, so that a resumed run that has to go
        back goes where the undisturbed one would.

        Parameters
        ----------
        alone : bool
            The other processes may be elsewhere: a signal came to this one.
        """
        self.check(alone=alone)
        if self.fabric.is_global_zero:
            content = self.learner.content(self.state)
            if self.task.recipe.budget.seconds is None:
                content["good"] = self.good
            save_checkpoint(self.task.folder, content)
        self.clock.saved()
