"""What happens between steps: losses are logged, whole cases validated, the best weights kept."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from lightning_fabric import Fabric
from torch import distributed

from medseg.training.checkpoint import save_weights
from medseg.training.diagnosis import diagnose, facts_of, stuck_at_zero
from medseg.training.draws import count_draws, write_draws
from medseg.training.session import Session
from medseg.training.stop import GracefulStop
from medseg.training.task import Task
from medseg.training.validation import SetScores, mean_dice, pixel_scores, together, validate

logger = logging.getLogger(__name__)

DIAGNOSIS = "diagnosis.json"
REMEMBER_EVERY = 5
"""Logging points from one copy of a good state to the next: about 10 ms each for 2 M weights."""


def log_losses(run: Session) -> None:
    """Hand the mean losses since the last logging point to the monitor; keep a copy at some."""
    state, clock = run.state, run.clock
    run.check()
    means = state.recent.means()
    if means:
        seconds = max(state.seconds - state.logged_seconds, 1e-9)
        clock.wait_share = min(1.0, run.feed.waited() / seconds)
        metrics = {
            **_named(means),
            "train/lr": clock.lr(),
            "system/steps_per_second": (state.step - state.logged_step) / seconds,
            "system/data_wait_share": clock.wait_share,
        }
        run.monitor.log(metrics, state.step)
        run.stall.watch(clock.wait_share * seconds, seconds)
    due = clock.logs_due()
    keep = due // REMEMBER_EVERY > state.logged // REMEMBER_EVERY
    state.logged = due
    state.logged_step, state.logged_seconds = state.step, state.seconds
    state.recent.reset()
    if keep:
        run.remember()


def validation_round(run: Session, stop: GracefulStop) -> None:
    """Score the validation cases, keep the weights if they are the best, log, save.

    A validation that the time does not afford is passed over, except the last.
    """
    state, clock = run.state, run.clock
    if clock.share < 1 and not clock.affords_validation():
        state.validated = clock.validations_due()
        return
    run.check()
    due, progress, lr = clock.validations_due(), clock.share, clock.lr()
    dice, pixels = _score(run, stop)
    state.validated = due
    stale = weights_file(run.task, state.best_step) if state.best_dice else None
    better = state.is_better(dice, pixels)
    if better:
        state.best_step, state.best_dice, state.best_pixels = state.step, dice, pixels
        if run.fabric.is_global_zero:
            save_weights(weights_file(run.task, state.step), run.learner.kept)
    found = {f"val/dice/{name}": value for name, value in dice.items()}
    found |= {f"val/{name}": value for name, value in pixels.items()}
    state.history.append(
        {
            "step": state.step,
            "progress": progress,
            "seconds": state.seconds,
            "train/lr": lr,
            "recoveries": state.recoveries,
            **_named(state.interval.means()),
            **found,
        }
    )
    sampled = _tell_draws(run)
    _tell_diagnoses(run)
    clock.watch_plateau()
    state.interval.reset()
    run.remember()
    run.save()
    if run.fabric.is_global_zero:
        state.write_history(run.task.folder)
        if better and stale is not None and stale != weights_file(run.task, state.step):
            stale.unlink(missing_ok=True)
    known = {name: value for name, value in found.items() if value == value}
    run.monitor.log({**known, **sampled}, state.step)
    name, best = state.best
    logger.info(
        "step %d: validation %s %.4f (best %.4f at step %d)",
        state.step,
        name,
        state.course()[-1],
        best,
        state.best_step,
    )


def weights_file(task: Task, step: int) -> Path:
    """Name the weights of a step; the step is in the name so that a checkpoint finds its own."""
    return task.folder / f"best-{step:08d}.safetensors"


def _score(run: Session, stop: GracefulStop) -> tuple[dict[str, float], dict[str, float]]:
    """Score all processes' cases; note the time it took.

    Returns
    -------
    dice : dict
        Mean Dice per structure.
    pixels : dict
        Scores over all pixels of the set; empty unless mIoU decides.
    """
    task, state, fabric = run.task, run.state, run.fabric
    started = time.monotonic()
    mine = task.validation[fabric.global_rank :: fabric.world_size]
    kept, precision = run.learner.kept, task.recipe.precision
    if fabric.world_size > 1:  # batch norm's running statistics: each process has its own
        for buffer in kept.buffers():
            distributed.broadcast(buffer, 0)
    scores = validate(kept, mine, task.plan, fabric.device, precision, stop.check)
    scores = _gather(scores, fabric)
    dice = mean_dice(scores.dice, task.plan.scheme)
    pixels: dict[str, float] = {}
    if task.recipe.score == "miou":
        pixels = pixel_scores(scores.pixels, task.plan.scheme)
    run.clock.progress()
    spent = float(fabric.broadcast(time.monotonic() - started))
    state.validation_seconds += spent
    state.longest_validation = max(state.longest_validation, spent)
    state.logged_seconds += spent  # steps per second are those of training
    return dice, pixels


def _tell_draws(run: Session) -> dict[str, float]:
    """Count what was drawn since the last validation; then move the case weights.

    Returns
    -------
    dict
        ``sampling/class/<name>``: share of patches centred on each label, or ``anywhere``.
    """
    state, scheme = run.state, run.task.plan.scheme
    size = run.task.recipe.batch_size * run.fabric.world_size
    draws = count_draws(run.sampler, state.counted_step * size, state.step * size)
    state.counted_step = state.step
    shares = draws.class_shares(scheme)
    for name, share in shares.items():
        state.drawn[name] = state.drawn.get(name, 0) + round(share * draws.total)
    weights = state.cases.weights()
    if run.task.recipe.hard_cases:
        state.cases.settle(run.fabric)
        run.open_feed()
    if run.fabric.is_global_zero:
        means = state.cases.means
        write_draws(run.task.folder, state.step, draws, scheme, weights, means)
    return {f"sampling/class/{name}": share for name, share in shares.items()}


def _tell_diagnoses(run: Session) -> None:
    """Say, once for each, why a structure stays at Dice 0."""
    state, task = run.state, run.task
    for structure in task.plan.scheme.structures:
        name = structure.name
        if name in state.diagnosed or not stuck_at_zero(state.history, name):
            continue
        facts = facts_of(structure, task, run.learner.loss, run.fabric.device, state.drawn)
        state.diagnosed[name] = diagnose(facts)
        logger.warning("%s", state.diagnosed[name])
    if state.diagnosed and run.fabric.is_global_zero:
        text = json.dumps(state.diagnosed, indent=2, ensure_ascii=False)
        (run.task.folder / DIAGNOSIS).write_text(text + "\n", encoding="utf-8")


def _named(means: dict[str, float]) -> dict[str, float]:
    """Name mean losses as the tracker does: ``train/loss``, ``train/loss/<term>``."""
    return {
        "train/loss" if name == "loss" else f"train/loss/{name}": value
        for name, value in means.items()
    }


def _gather(scores: SetScores, fabric: Fabric) -> SetScores:
    """Bring the scores of all processes together."""
    if fabric.world_size == 1:
        return scores
    parts = [scores] * fabric.world_size
    distributed.all_gather_object(parts, scores)
    return together(parts)
