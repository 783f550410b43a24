"""Train: fit the planned network within a budget; keep what validates best on whole cases."""

from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from medseg.artefacts import PatchIndex, Plan, Resampled, ResampledCase
from medseg.errors import ConfigError
from medseg.planning.wishes import parse_memory
from medseg.settings import NetworkSettings
from medseg.stages.context import Context
from medseg.stages.train_folds import check_folds, chosen_folds
from medseg.stages.train_loss import DEFAULT_LOSS, planned_loss, weighed_loss
from medseg.stages.train_monitor import ContextMonitor
from medseg.trained import TrainedFold, TrainedModel
from medseg.training.cycles import SelfCorrection

if TYPE_CHECKING:
    from medseg.training.task import Recipe, Start

logger = logging.getLogger(__name__)

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, kw_only=True)
class Train:
    """Fit the network; a killed run goes on from its last checkpoint, exactly.

    ``network`` is another section of the config, of which the weights to begin from are used here.
    """

    writes: ClassVar[str] = "model"
    budget: str = "auto"
    """``90s``, ``10min``, ``2h`` of wall time, ``50000it`` of optimiser steps, or ``plateau``: as
    long as validation rises, and no longer than ``plateau,2h`` says; auto: planned."""
    batch_size: int | Literal["auto"] = "auto"
    """Patches per step and device."""
    memory: str = "auto"
    """Memory to plan for, such as ``24GB``: batch and patch grow or shrink to it. auto: what the
    network's preset is made for, and no more than is free."""
    folds: int | list[int] | Literal["all"] = 0
    """Fold whose cases validate while the others train; of several, or ``all``, each is one
    training, and the networks together are the model. See ``docs/cross_validation.md``."""
    loss: dict[str, Any] | list[dict[str, Any]] = field(default_factory=lambda: dict(DEFAULT_LOSS))
    """Loss name and its arguments; of a list, the sum: each term may also have ``weight`` (a number
    or a schedule), ``as`` (its name in the log) and ``auto_balance``. ``class_weights`` may also
    name a rule over the training labels: inverse, median_frequency or enet. See
    ``docs/losses.md``."""
    optimizer: Literal["muon", "adamw", "sgd"] = "muon"
    """muon: momentum with orthogonalised updates; in few steps it goes furthest."""
    lr: float | Literal["auto"] = "auto"
    """Peak learning rate; auto: 4e-3 for muon, 2e-3 for adamw, 1e-2 for sgd."""
    encoder_lr: float = 1.0
    """Learning rate of the network's encoder as a share of ``lr``, such as 0.1 for one that comes
    with pretrained weights."""
    momentum: float | Literal["auto"] = "auto"
    """Of muon and sgd; auto: 0.9 for muon, 0.99 for sgd."""
    weight_decay: float = 3e-5
    schedule: Literal["cosine", "poly", "one_cycle"] = "cosine"
    """Shape of the learning rate over the budget, after a short linear warm-up; a plateau budget
    holds it constant and then cools down."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """auto: bf16-mixed where the device computes it natively, else 32-true."""
    augment: dict[str, Any] = field(default_factory=dict)
    """Overrides by transform; ``{preset: nnunet}`` or ``photographs`` for another list,
    ``{enabled: false}`` for none. See ``docs/augmentation.md``."""
    ema: float | Literal["auto"] = 0.0
    """Decay of the running average of weights that is validated and kept; 0 for none, ``auto`` for
    one that looks back over about 5 % of the steps so far, however many. A plateau budget always
    averages: there 0 is ``auto``."""
    self_correction: SelfCorrection | None = None
    """Correct the labels by a running average of networks in cycles at the end of the training, for
    annotations that are often wrong; ``{}`` takes its defaults. See ``docs/training.md``."""
    hard_cases: bool = False
    """Draw cases with a high training loss oftener: by their mean loss over the average of all,
    from 0.5 to 3 times, moved after each validation; ``sampling.csv`` shows it."""
    score: Literal["auto", "dice", "miou"] = "auto"
    """What decides which step is kept: the mean Dice of the validation cases, or the mIoU over all
    their pixels; auto: mIoU for photographs, else Dice."""
    compile: bool | Literal["auto"] = "auto"
    """``torch.compile``; auto: on CUDA where a trial shows it to be faster and the budget is long
    enough (20 min, 20 000 steps), never on a CPU."""
    validations: int = 10
    """Validations on whole cases, evenly spread over the budget."""
    checkpoint_every: str = "60s"
    """How much work a killed run may lose at most."""
    gradient_clip: float = 12.0
    devices: int = 1
    """Devices (or CPU processes) for data-parallel training; each takes ``batch_size`` patches per
    step. Under torchrun or srun it is the number of processes. See ``docs/distributed.md``."""
    sync_batchnorm: bool = False
    """Let batch norm take its statistics over the patches of all devices; on CUDA alone."""
    seed: int = 0
    network: NetworkSettings = field(default_factory=NetworkSettings)

    def __post_init__(self) -> None:
        from medseg.training.schedule import Budget

        if self.budget != "auto":
            Budget.parse(self.budget)
        Budget.parse(self.checkpoint_every, "train.checkpoint_every")
        if self.memory != "auto":
            parse_memory(self.memory)
        least: dict[str, tuple[float, float]] = {
            "validations": (self.validations, 1),
            "devices": (self.devices, 1),
            "gradient_clip": (self.gradient_clip, 0),
            "weight_decay": (self.weight_decay, 0),
            "batch_size": (1 if self.batch_size == "auto" else self.batch_size, 1),
        }
        for key, (value, low) in least.items():
            if value < low:
                raise ConfigError(f"train.{key} is {value}; it must be at least {low:g}")
        check_folds(self.folds)
        if self.ema != "auto" and not 0 <= self.ema < 1:
            raise ConfigError(f"train.ema is {self.ema}; it must be at least 0 and below 1")
        if self.self_correction is not None and (self.ema != 0 or "plateau" in self.budget):
            raise ConfigError(
                "train.self_correction keeps an average of its own, over a budget that is known; "
                "leave out train.ema, and give train.budget a time or steps"
            )
        if self.encoder_lr <= 0:
            raise ConfigError(f"train.encoder_lr is {self.encoder_lr}; it must be above 0")
        if self.momentum != "auto" and not 0 < self.momentum < 1:
            raise ConfigError(f"train.momentum is {self.momentum}; it must lie between 0 and 1")
        if self.lr != "auto" and self.lr <= 0:
            raise ConfigError(f"train.lr is {self.lr}; it must be above 0")
        if self.augment:
            from medseg.transforms import resolve_settings

            resolve_settings(self.augment)
        if self.loss != DEFAULT_LOSS:  # only a chosen loss is worth the import of torch here
            from medseg.losses import check_loss
            from medseg.losses.class_frequency import with_class_weights

            check_loss(with_class_weights(self.loss, lambda _: None))

    def inputs_token(self) -> str:
        """Name the content of the weights to begin from, as a part of the stage's key."""
        if self.network.weights_file is None:
            return ""
        with self.network.weights_file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @property
    def start(self) -> Start | None:
        """The weights that every fold begins from; None: random ones."""
        from medseg.training.task import Start

        file = self.network.weights_file
        return None if file is None else Start(file=file, inflate=self.network.inflate)

    def run(
        self, resampled: Resampled, patches: PatchIndex, plan: Plan, context: Context
    ) -> TrainedModel:
        """Return the trained networks; each fold is trained once, whatever is asked beside it."""
        from medseg.training.task import split_fold

        cases = tuple(c for c in resampled.cases if c.split == "train" and c.label is not None)
        folds = chosen_folds(self.folds, cases)
        located = {row.id for row in patches.locations}
        for fold in folds:  # what cannot be trained is said before the first hour
            split_fold(cases, fold, located)
        budget = self.recipe(plan, context.device).budget
        token, start = self.inputs_token(), self.start
        members = []
        with context.progress(budget.total * len(folds), budget.unit) as progress:
            for fold in folds:
                monitor = ContextMonitor(context, progress, fold if len(folds) > 1 else None)
                item = {
                    # the plan has fitted memory and network; of the weights, content counts
                    "stage": replace(self, folds=fold, memory="auto", network=NetworkSettings()),
                    "fold": fold,
                    "begins": (token, self.network.inflate),
                    "plan": without_origin(plan),
                    "patches": patches,
                    "cases": cases,
                }
                shared = {"monitor": monitor, "device": context.device, "start": start}
                members.append(context.once(train_fold, f"fold {fold}", item, shared=shared))
                monitor.fill(budget.total)
        return TrainedModel(network=plan.network, folds=tuple(members))

    def recipe(self, plan: Plan, device: str) -> Recipe:
        """Resolve every ``auto`` for a device; class weights by a rule are left out."""
        from medseg.losses.class_frequency import with_class_weights
        from medseg.training.launch import choose_precision
        from medseg.training.schedule import Budget
        from medseg.training.task import Recipe

        rates = {"muon": 4e-3, "adamw": 2e-3, "sgd": 1e-2}
        budget = Budget.parse(plan.budget if self.budget == "auto" else self.budget)
        return Recipe(
            budget=budget,
            batch_size=plan.batch_size if self.batch_size == "auto" else self.batch_size,
            loss=planned_loss(with_class_weights(self.loss, lambda _: None), plan),
            optimizer=self.optimizer,
            lr=rates[self.optimizer] if self.lr == "auto" else self.lr,
            encoder_lr=self.encoder_lr,
            momentum=None if self.momentum == "auto" else self.momentum,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            precision=choose_precision(device) if self.precision == "auto" else self.precision,
            augment=dict(self.augment),
            ema="auto" if budget.plateau and self.ema == 0 else self.ema,
            self_correction=self.self_correction,
            hard_cases=self.hard_cases,
            compile=self.compile,
            validations=self.validations,
            checkpoint_every=Budget.parse(self.checkpoint_every, "train.checkpoint_every"),
            gradient_clip=self.gradient_clip,
            sync_batchnorm=self.sync_batchnorm,
            seed=self.seed,
        )


def train_fold(
    *,
    out: Path,
    stage: Train,
    fold: int,
    begins: tuple[str, bool],  # noqa: ARG001 - what `start` holds, so it is part of the key
    plan: Plan,
    patches: PatchIndex,
    cases: tuple[ResampledCase, ...],
    monitor: ContextMonitor,
    device: str,
    start: Start | None,
) -> TrainedFold:
    """Train on all folds but one; go on from what a killed training left in ``out``."""
    from medseg.training.launch import train
    from medseg.training.loop import best_weights
    from medseg.training.state import HISTORY
    from medseg.training.task import Task, split_fold
    from medseg.training.validation import choose_score

    training, validation = split_fold(cases, fold, {row.id for row in patches.locations})
    score = choose_score(stage.score, plan.scheme, validation)
    loss = planned_loss(weighed_loss(stage.loss, training, plan.scheme), plan)
    task = Task(
        recipe=replace(stage.recipe(plan, device), loss=loss, score=score),
        plan=plan,
        patches=patches,
        train=training,
        validation=validation,
        folder=out,
        start=start,
    )
    logger.info(
        "fold %d: training on %d cases, validating on %d", fold, len(training), len(validation)
    )
    state = train(task, monitor, device=device, devices=stage.devices)
    weights = Path(shutil.copyfile(best_weights(task, state), out / WEIGHTS))
    return TrainedFold(
        fold=fold,
        weights=weights,
        cases=tuple(case.id for case in training),
        steps=state.step,
        best_step=state.best_step,
        validation_dice={k: v for k, v in state.best_dice.items() if k != "mean" and v == v},
        validation_miou=state.best_pixels.get("miou"),
        history=out / HISTORY,
        seconds=state.seconds,
    )


def without_origin(plan: Plan) -> Plan:
    """Keep of a plan what decides a training: where data and numbers came from does not."""
    info = replace(plan.info, name="", title="", licence="", citation="", digest="")
    return replace(plan, info=info, decisions=())
