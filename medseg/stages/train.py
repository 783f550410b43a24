"""Train: fit the planned network within a budget; keep what validates best on whole cases."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from medseg.artefacts import PatchIndex, Plan, Resampled, TrainedModel
from medseg.errors import ConfigError
from medseg.stages.context import Context, Progress

if TYPE_CHECKING:
    from medseg.training.task import Recipe

logger = logging.getLogger(__name__)

WEIGHTS = "weights.safetensors"
DEFAULT_LOSS = {"name": "dice_ce"}


@dataclass(frozen=True, kw_only=True)
class Train:
    """Fit the network; a killed run goes on from its last checkpoint, exactly."""

    writes: ClassVar[str] = "model"
    budget: str = "auto"
    """``90s``, ``10min``, ``2h`` of wall time, or ``50000it`` of optimiser steps; auto: planned."""
    batch_size: int | Literal["auto"] = "auto"
    """Patches per step and device."""
    fold: int = 0
    """Fold whose cases validate; the others train."""
    loss: dict[str, Any] | list[dict[str, Any]] = field(default_factory=lambda: dict(DEFAULT_LOSS))
    """Loss name and its arguments; of a list, the sum: each term may also have ``weight`` (a number
    or a schedule), ``as`` (its name in the log) and ``auto_balance``. See ``docs/losses.md``."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float | Literal["auto"] = "auto"
    """Peak learning rate; auto: 2e-3 for adamw, 1e-2 for sgd."""
    weight_decay: float = 3e-5
    schedule: Literal["cosine", "poly"] = "cosine"
    """Shape of the learning rate over the budget, after a short linear warm-up."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """auto: bf16-mixed where the device computes it natively, else 32-true."""
    augment: dict[str, Any] = field(default_factory=dict)
    """Overrides of `medseg.transforms.AUGMENTATIONS` by name; ``{enabled: false}`` for none."""
    ema: float = 0.0
    """Decay of the running average of weights that is validated and kept; 0 for none."""
    validations: int = 10
    """Validations on whole cases, evenly spread over the budget."""
    checkpoint_every: str = "60s"
    """How much work a killed run may lose at most."""
    gradient_clip: float = 12.0
    devices: int = 1
    """Devices (or CPU processes) for data-parallel training."""
    seed: int = 0

    def __post_init__(self) -> None:
        from medseg.training.schedule import Budget

        if self.budget != "auto":
            Budget.parse(self.budget)
        Budget.parse(self.checkpoint_every, "train.checkpoint_every")
        least: dict[str, tuple[float, float]] = {
            "fold": (self.fold, 0),
            "validations": (self.validations, 1),
            "devices": (self.devices, 1),
            "gradient_clip": (self.gradient_clip, 0),
            "weight_decay": (self.weight_decay, 0),
            "batch_size": (1 if self.batch_size == "auto" else self.batch_size, 1),
        }
        for key, (value, low) in least.items():
            if value < low:
                raise ConfigError(f"train.{key} is {value}; it must be at least {low:g}")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"train.ema is {self.ema}; it must be at least 0 and below 1")
        if self.lr != "auto" and self.lr <= 0:
            raise ConfigError(f"train.lr is {self.lr}; it must be above 0")
        if self.loss != DEFAULT_LOSS:  # only a chosen loss is worth the import of torch here
            from medseg.losses import check_loss

            check_loss(self.loss)

    def run(
        self, resampled: Resampled, patches: PatchIndex, plan: Plan, context: Context
    ) -> TrainedModel:
        """Return the trained model."""
        import shutil

        from medseg.training.launch import train
        from medseg.training.loop import best_weights
        from medseg.training.state import HISTORY
        from medseg.training.task import Task, split_fold

        located = {row.id for row in patches.locations}
        cases, validation = split_fold(resampled.cases, self.fold, located)
        task = Task(
            recipe=self.recipe(plan, context.device),
            plan=plan,
            patches=patches,
            train=cases,
            validation=validation,
            folder=context.workdir,
        )
        logger.info("training on %d cases, validating on %d", len(cases), len(validation))
        budget = task.recipe.budget
        with context.progress(budget.total, budget.unit) as progress:
            monitor = ContextMonitor(context, progress)
            state = train(task, monitor, device=context.device, devices=self.devices)
        weights = context.workdir / WEIGHTS
        shutil.copyfile(best_weights(task, state), weights)
        return TrainedModel(
            weights=weights,
            network=plan.network,
            fold=self.fold,
            steps=state.step,
            best_step=state.best_step,
            validation_dice={k: v for k, v in state.best_dice.items() if k != "mean" and v == v},
            history=context.workdir / HISTORY,
            seconds=state.seconds,
        )

    def recipe(self, plan: Plan, device: str) -> Recipe:
        """Resolve every ``auto`` for a device."""
        from medseg.training.launch import choose_precision
        from medseg.training.schedule import Budget
        from medseg.training.task import Recipe

        rates = {"adamw": 2e-3, "sgd": 1e-2}
        return Recipe(
            budget=Budget.parse(plan.budget if self.budget == "auto" else self.budget),
            batch_size=plan.batch_size if self.batch_size == "auto" else self.batch_size,
            loss=self.loss,
            optimizer=self.optimizer,
            lr=rates[self.optimizer] if self.lr == "auto" else self.lr,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            precision=choose_precision(device) if self.precision == "auto" else self.precision,
            augment=dict(self.augment),
            ema=self.ema,
            validations=self.validations,
            checkpoint_every=Budget.parse(self.checkpoint_every, "train.checkpoint_every"),
            gradient_clip=self.gradient_clip,
            seed=self.seed,
        )


class ContextMonitor:
    """Hands what a training tells to the runner."""

    def __init__(self, context: Context, progress: Progress) -> None:
        self.context, self.progress = context, progress

    def advance(self, amount: float, note: str) -> None:
        """Move the bar."""
        self.progress.advance(amount, note=note)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Hand metrics to the tracker."""
        self.context.log_metrics(metrics, step)
