"""The training loop."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from lightning_fabric import Fabric
from torch import Tensor, distributed

from medseg.losses import supervise
from medseg.networks import Prediction
from medseg.sampling.patches import PatchDataset
from medseg.sampling.sampler import PatchSampler
from medseg.training.checkpoint import save_weights
from medseg.training.clock import Clock
from medseg.training.data import Batch, load_batches
from medseg.training.learner import Learner, build_learner
from medseg.training.rng import generator_at
from medseg.training.schedule import lr_factor
from medseg.training.state import State
from medseg.training.stop import GracefulStop, Stopped
from medseg.training.task import Monitor, Task
from medseg.training.validation import mean_dice, validate

logger = logging.getLogger(__name__)

ENDLESS = 2**62
"""Patches in a data set that ends with the budget."""
LOG_POINTS = 100
"""Times that the training loss is logged over the budget."""


def fit(fabric: Fabric, task: Task, monitor: Monitor) -> State:
    """Train until the budget is used up; go on from the folder's checkpoint where there is one.

    Batch, augmentation, learning rate and loss weights of a step depend on the seed, the step and
    (for a time budget) the time used alone, so a run that was killed and resumed within a budget of
    steps is equal to one that was not.

    Raises
    ------
    StageError
        If the loss is not finite.
    KeyboardInterrupt
        After a checkpoint, on Ctrl-C; likewise SIGTERM goes to whoever handled it before.
    """
    recipe = task.recipe
    learner = build_learner(fabric, task)
    state = learner.restore(task)
    clock = Clock(fabric, task, state)
    monitor.advance(recipe.budget.used(state.step, state.seconds), "")
    device, rank, world = fabric.device, fabric.global_rank, fabric.world_size
    sampler = PatchSampler(task.patches, task.train, task.plan.patch_size)
    dataset = PatchDataset(sampler, task.train, task.plan.scheme, length=ENDLESS)
    batches = load_batches(
        dataset, recipe.batch_size, device, first=state.step, rank=rank, world=world
    )
    learner.network.train()
    with GracefulStop() as stop:
        while True:
            progress = clock.progress()
            if _due(progress, LOG_POINTS, state.logged):
                _log_losses(task, state, monitor, progress)
            if _due(progress, recipe.validations, state.validated):
                try:
                    _validate(learner, task, state, clock, monitor, stop, progress)
                except Stopped:
                    _save(learner, task, state, clock)
                    stop.deliver()
            if progress >= 1:
                break

            lr = recipe.lr * lr_factor(progress, recipe.schedule)
            learner.loss.set_progress(progress)
            values = train_step(learner, next(batches), lr, recipe.gradient_clip, state.step, task)
            state.step += 1
            state.recent.add(state.step, values)
            state.interval.add(state.step, values)
            if learner.average:
                learner.average.update(learner.module, state.step)

            clock.tell(monitor, state.recent)
            if clock.checkpoint_due() or stop.requested:
                _save(learner, task, state, clock)
                stop.deliver()
    _save(learner, task, state, clock)
    if fabric.is_global_zero:  # a kill between two files may have left weights that nothing names
        for path in set(task.folder.glob("best-*.safetensors")) - {best_weights(task, state)}:
            path.unlink()
    clock.finish(monitor)
    return state


def train_step(
    learner: Learner, batch: Batch, lr: float, gradient_clip: float, step: int, task: Task
) -> dict[str, Tensor]:
    """Take one optimiser step; return the detached loss and its terms."""
    for group in learner.optimizer.param_groups:
        group["lr"] = lr
    fabric = learner.fabric
    whole = bool(batch.annotated.all())  # asked here, where no GPU has to be waited for
    batch = batch.to(fabric.device)
    generator = generator_at(task.recipe.seed, step, fabric.global_rank)
    image, label = learner.augment(batch.image, batch.label, generator)  # (B, C, *s), (B, *s)
    output = learner.network(image)  # under autocast
    prediction = output if isinstance(output, Prediction) else Prediction(output)
    annotated = None if whole else batch.annotated  # (B, K + 1)
    loss, terms = supervise(
        learner.loss, prediction.logits, prediction.aux, label, annotated=annotated
    )
    fabric.backward(loss)
    if gradient_clip > 0:
        fabric.clip_gradients(
            learner.network, learner.optimizer, max_norm=gradient_clip, error_if_nonfinite=False
        )
    learner.optimizer.step()
    learner.optimizer.zero_grad()
    return {"loss": loss.detach(), **terms}


def _due(progress: float, times: int, done: int) -> bool:
    """Tell whether one more of ``times`` evenly spread events has come due; the last is at 1."""
    return int(progress * times + 1e-9) > done


def _log_losses(task: Task, state: State, monitor: Monitor, progress: float) -> None:
    """Hand the mean losses since the last logging point to the monitor."""
    state.recent.check()
    means = state.recent.means()
    if means:
        seconds = state.seconds - state.logged_seconds
        metrics = {
            **_named(means),
            "train/lr": task.recipe.lr * lr_factor(progress, task.recipe.schedule),
            "system/steps_per_second": (state.step - state.logged_step) / max(seconds, 1e-9),
        }
        monitor.log(metrics, state.step)
    state.logged = int(progress * LOG_POINTS + 1e-9)
    state.logged_step, state.logged_seconds = state.step, state.seconds
    state.recent.reset()


def _validate(
    learner: Learner,
    task: Task,
    state: State,
    clock: Clock,
    monitor: Monitor,
    stop: GracefulStop,
    progress: float,
) -> None:
    """Score the validation cases, keep the weights if they are the best, log, save."""
    target = int(progress * task.recipe.validations + 1e-9)
    if progress < 1 and not clock.affords_validation():
        state.validated = target
        return
    state.interval.check()
    started, fabric = time.monotonic(), learner.fabric
    mine = task.validation[fabric.global_rank :: fabric.world_size]
    scores = validate(
        learner.kept, mine, task.plan, fabric.device, task.recipe.precision, stop.check
    )
    dice = mean_dice(_gather(scores, fabric), task.plan.scheme)
    clock.progress()
    spent = float(fabric.broadcast(time.monotonic() - started))
    state.validation_seconds += spent
    state.longest_validation = max(state.longest_validation, spent)
    state.logged_seconds += spent  # steps per second are those of training
    state.validated = target
    better = state.is_better(dice)
    stale = _weights_file(task, state.best_step) if state.best_dice else None
    if better:
        state.best_step, state.best_dice = state.step, dice
        if fabric.is_global_zero:
            save_weights(_weights_file(task, state.step), learner.kept)
    val = {f"val/dice/{name}": value for name, value in dice.items() if value == value}
    state.history.append(
        {
            "step": state.step,
            "progress": progress,
            "seconds": state.seconds,
            "train/lr": task.recipe.lr * lr_factor(progress, task.recipe.schedule),
            **_named(state.interval.means()),
            **{f"val/dice/{name}": value for name, value in dice.items()},
        }
    )
    state.interval.reset()
    _save(learner, task, state, clock)
    if fabric.is_global_zero:
        state.write_history(task.folder)
        if better and stale is not None and stale != _weights_file(task, state.step):
            stale.unlink(missing_ok=True)
    monitor.log(val, state.step)
    logger.info(
        "step %d: validation Dice %.4f (best %.4f at step %d)",
        state.step,
        dice["mean"],
        state.best_dice["mean"],
        state.best_step,
    )


def best_weights(task: Task, state: State) -> Path:
    """Return the file with the weights of the best validation."""
    return _weights_file(task, state.best_step)


def _weights_file(task: Task, step: int) -> Path:
    """Name the weights of a step; the step is in the name so that a checkpoint finds its own."""
    return task.folder / f"best-{step:08d}.safetensors"


def _named(means: dict[str, float]) -> dict[str, float]:
    """Name mean losses as the tracker does: ``train/loss``, ``train/loss/<term>``."""
    return {
        "train/loss" if name == "loss" else f"train/loss/{name}": value
        for name, value in means.items()
    }


def _gather(scores: dict[str, list[float]], fabric: Fabric) -> dict[str, list[float]]:
    """Bring the scores of all processes together."""
    if fabric.world_size == 1:
        return scores
    parts: list[dict[str, list[float]]] = [{} for _ in range(fabric.world_size)]
    distributed.all_gather_object(parts, scores)
    return {case: row for part in parts for case, row in part.items()}


def _save(learner: Learner, task: Task, state: State, clock: Clock) -> None:
    """Write a checkpoint, unless the weights are no longer sound."""
    state.recent.check()
    learner.save(task, state)
    clock.saved()
