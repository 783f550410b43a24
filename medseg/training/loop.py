"""The training loop."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from medseg.losses import Loss, supervise
from medseg.networks import Prediction
from medseg.training.data import Batch
from medseg.training.learner import Learner
from medseg.training.meter import NotFiniteError
from medseg.training.rng import generator_at
from medseg.training.rounds import log_losses, validation_round, weights_file
from medseg.training.self_correction import end_phase
from medseg.training.session import Session
from medseg.training.state import State
from medseg.training.stop import SAME_SIGNAL_S, GracefulStop, Stopped
from medseg.training.task import Monitor, Task

logger = logging.getLogger(__name__)

EACH = "each"
"""Name of the loss of each patch in what a step returns."""


def fit(fabric: Fabric, task: Task, monitor: Monitor) -> State:
    """Train until the budget is used up; go on from the folder's checkpoint where there is one.

    Batch, augmentation, learning rate and loss weights of a step depend on the seed, the step and
    (for a time budget) the time used alone, so a run that was killed and resumed within a budget of
    steps is equal to one that was not.

    Raises
    ------
    StageError
        If the loss is not finite, again after going back and halving the step size three times.
    KeyboardInterrupt
        After a checkpoint, on Ctrl-C; likewise SIGTERM goes to whoever handled it before.
    """
    run = Session(fabric, task, monitor)
    state = run.state
    monitor.advance(task.recipe.budget.used(state.step, state.seconds), "")
    run.learner.network.train()
    with GracefulStop(SAME_SIGNAL_S if fabric.world_size > 1 else 0.0) as stop:
        goes_on = True
        while goes_on:
            try:
                goes_on = advance(run, stop)
            except NotFiniteError as error:
                run.go_back(error)
            except RuntimeError:
                stop.deliver()  # where a signal came, the other processes may have left for it
                raise
    if fabric.is_global_zero:  # a kill between two files may have left weights that nothing names
        for path in set(task.folder.glob("best-*.safetensors")) - {best_weights(task, state)}:
            path.unlink()
    run.clock.finish(monitor)
    logger.info("the device waited for data during %.1f %% of this training", 100 * run.stall.share)
    return state


def advance(run: Session, stop: GracefulStop) -> bool:
    """Do what is due, then take one step; return False at the end of the budget.

    Raises
    ------
    NotFiniteError
        If a loss or a weight is not finite; at the end of the budget at the latest.
    """
    learner, state, clock, recipe = run.learner, run.state, run.clock, run.task.recipe
    progress = clock.progress()
    phases, running = recipe.self_correction, learner.running
    if phases and running and phases.phases_done(progress) > running.count:
        end_phase(run, running)
    if clock.logs_due() > state.logged:
        log_losses(run)
    if clock.validations_due() > state.validated:
        try:
            validation_round(run, stop)
        except Stopped:
            run.save(alone=True)
            stop.deliver()
    if progress >= 1:
        run.save()
        return False

    batch = next(run.feed)  # image (B, C, *patch + margins), label alike, on the device
    learner.loss.set_progress(progress)
    values = train_step(learner, batch, clock.lr(), recipe.gradient_clip, state.step, run.task)
    if EACH in values:
        state.cases.add(run.cases_of(state.step), values.pop(EACH))
    state.step += 1
    state.recent.add(state.step, values)
    state.interval.add(state.step, values)
    if learner.average:
        learner.average.update(learner.module, state.step)

    clock.tell(run.monitor, state.recent)
    stops = stop.agreed(learner.fabric)
    if stops or clock.checkpoint_due():
        run.save()
    if stops:
        stop.agreed(learner.fabric)  # none leaves before the first process has written it
        stop.deliver()
    return True


def train_step(
    learner: Learner, batch: Batch, lr: float, gradient_clip: float, step: int, task: Task
) -> dict[str, Tensor]:
    """Take one optimiser step.

    Returns
    -------
    dict
        Detached: ``loss``, its terms by name and, for ``hard_cases``, the loss of each patch as
        `EACH`, of shape (B,).
    """
    for group in learner.optimizer.param_groups:
        group["lr"] = lr * group.get("lr_share", 1.0)
    fabric = learner.fabric
    batch = batch.to(fabric.device)
    generator = generator_at(task.recipe.seed, step, fabric.global_rank)
    image, label = learner.augment(batch.image, batch.label, generator)  # (B, C, *s), (B, *s)
    if learner.running:
        with fabric.autocast():
            label = learner.running.correct(image, label, batch.annotated, task.plan.scheme)
    output = learner.network(image)  # under autocast
    prediction = output if isinstance(output, Prediction) else Prediction(output)
    loss, terms = supervise(
        learner.loss,
        prediction.logits,
        prediction.aux,
        label,
        annotated=batch.annotated,
        aux_weights=prediction.aux_weights,
        extras=prediction.extras,
    )
    fabric.backward(loss)
    if gradient_clip > 0:
        fabric.clip_gradients(
            learner.network, learner.optimizer, max_norm=gradient_clip, error_if_nonfinite=False
        )
    learner.optimizer.step()
    learner.optimizer.zero_grad()
    values = {"loss": loss.detach(), **terms}
    if task.recipe.hard_cases:
        values[EACH] = loss_of_each(learner.loss, prediction.logits, label, batch.annotated)
    return values


@torch.no_grad()
def loss_of_each(loss: Loss, logits: Tensor, label: Tensor, annotated: Tensor | None) -> Tensor:
    """Return the loss of each patch alone, at full resolution, as (B,)."""
    parts = range(len(logits))
    rows = [None if annotated is None else annotated[b : b + 1] for b in parts]
    return torch.stack(
        [loss(logits[b : b + 1], label[b : b + 1], annotated=rows[b]) for b in parts]
    )


def best_weights(task: Task, state: State) -> Path:
    """Return the file with the weights of the best validation."""
    return weights_file(task, state.best_step)
