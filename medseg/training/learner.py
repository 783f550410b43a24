"""The parts of a training: network, optimiser, loss, augmentation, average of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from medseg.errors import ConfigError
from medseg.losses import Loss, build_loss
from medseg.networks import build_network
from medseg.training.ema import Average
from medseg.training.muon import Muon
from medseg.training.rng import restore_rng, rng_state
from medseg.training.self_correction import Running
from medseg.training.speed import Speed, lay_out, rule_of_thumb
from medseg.training.start import load_start, write_table
from medseg.training.state import State
from medseg.training.task import Recipe, Task
from medseg.transforms import Augmenter

MUON_MOMENTUM, SGD_MOMENTUM = 0.9, 0.99


@dataclass
class Learner:
    """What is trained, and with what.

    Attributes
    ----------
    module : nn.Module
        The bare network, whose state is saved and validated.
    network : nn.Module
        The same as Fabric wraps it (precision, several processes): what a step calls.
    """

    fabric: Fabric
    module: nn.Module
    network: Any
    bare_optimizer: torch.optim.Optimizer
    optimizer: Any
    loss: Loss
    augment: Augmenter
    average: Average | None
    speed: Speed
    running: Running | None = None

    @property
    def kept(self) -> nn.Module:
        """The network that is validated and kept: the average where there is one."""
        if self.running and self.running.count:
            return self.running.network
        return self.average.network if self.average else self.module

    def content(self, state: State) -> dict[str, Any]:
        """Return all that a training changes: what a checkpoint holds."""
        return {
            "network": self.module.state_dict(),
            "average": self.average.network.state_dict() if self.average else None,
            "running": self.running.to_dict() if self.running else None,
            "optimizer": self.bare_optimizer.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "rng": rng_state(),
            "speed": self.speed.to_dict(),
            "state": state.to_dict(),
        }

    def load(self, content: dict[str, Any]) -> State:
        """Take on `content`, and return its state."""
        self.module.load_state_dict(content["network"])
        if self.average:
            self.average.network.load_state_dict(content["average"])
        if self.running:
            self.running.load(content["running"])
        self.bare_optimizer.load_state_dict(content["optimizer"])
        self.fabric.strategy.precision.load_state_dict(content["scaler"])
        restore_rng(content["rng"])
        return State.from_dict(content["state"])


def build_learner(
    fabric: Fabric, task: Task, speed: Speed | None = None, *, resumes: bool = False
) -> Learner:
    """Build all parts; equal seeds give equal weights on every process.

    Parameters
    ----------
    fabric : Fabric
    task : Task
    speed : Speed, optional
        What a trial or an earlier attempt chose; None: the rule of thumb.
    resumes : bool
        A checkpoint follows, so the weights that the task starts from are not read.

    Raises
    ------
    ConfigError
        If nothing of those weights fits the network.
    """
    recipe, plan = task.recipe, task.plan
    torch.manual_seed(recipe.seed)
    module = build_network(plan.network, plan.slice_axis)
    if task.start is not None and not resumes:
        report = load_start(module, task.start)
        if fabric.is_global_zero:
            write_table(task.folder, report)
    if recipe.sync_batchnorm and fabric.world_size > 1:
        module = sync_batch_norm(module, fabric.device)
    way = speed or rule_of_thumb(module, fabric.device, recipe)
    lay_out(module, way)
    optimizer = build_optimizer(module, recipe)
    # What is compiled shares its weights with the bare module, which validates and is saved.
    called: Any = torch.compile(module) if way.compile else module
    network, wrapped = fabric.setup(called, optimizer)
    structures = plan.scheme.structures
    return Learner(
        fabric=fabric,
        module=module,
        network=network,
        bare_optimizer=optimizer,
        optimizer=wrapped,
        loss=build_loss(
            recipe.loss, plan.scheme.activation, [s.indices for s in structures], plan.spacing
        ).to(fabric.device),
        augment=Augmenter(
            recipe.augment,
            patch_size=plan.patch_size,
            spacing=plan.spacing,
            mirror_axes=plan.mirror_axes,
            previous=plan.previous_classes,
        ),
        average=Average(module, recipe.ema) if recipe.ema != 0 else None,
        running=Running(module) if recipe.self_correction is not None else None,
        speed=way,
    )


def sync_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """Let batch norm take its statistics over all processes; the names of weights stay.

    Raises
    ------
    ConfigError
        On a CPU, for which torch has none.
    """
    if device.type != "cuda":
        raise ConfigError(
            "train.sync_batchnorm works on CUDA devices alone; leave it out, or take a network "
            "with instance or group norm"
        )
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted


def build_optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return Muon, AdamW, or SGD with Nesterov momentum; norms and biases do not decay."""
    groups = parameter_groups(module, recipe)
    if recipe.optimizer == "muon":
        exact = recipe.precision == "32-true"
        return Muon(groups, lr=recipe.lr, momentum=recipe.momentum or MUON_MOMENTUM, exact=exact)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr)
    momentum = recipe.momentum or SGD_MOMENTUM
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=momentum, nesterov=True)


def parameter_groups(module: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Divide parameters by weight decay and, where it has its own, by learning rate.

    ``lr_share`` of a group is its rate as a share of the step's (see `train_step`). The encoder is
    what a network has as ``encoder``.

    Raises
    ------
    ConfigError
        If the encoder is to have its own rate and the network has none.
    """
    named = list(module.named_parameters())
    shares = {name: 1.0 for name, _ in named}
    if recipe.encoder_lr != 1:
        inner = [name for name in shares if "encoder" in name.split(".")[:-1]]
        if not inner:
            raise ConfigError(
                f"train.encoder_lr is {recipe.encoder_lr}, and this network has no part named "
                "'encoder'; leave it at 1, or take another network"
            )
        shares |= dict.fromkeys(inner, recipe.encoder_lr)
    groups = []
    for share in dict.fromkeys(shares.values()):
        own = [p for name, p in named if shares[name] == share]
        decay = {"weight_decay": recipe.weight_decay, "lr_share": share}
        groups.append({"params": [p for p in own if p.ndim > 1], **decay})
        groups.append({"params": [p for p in own if p.ndim <= 1], **decay, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]
