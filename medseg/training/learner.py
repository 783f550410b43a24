"""The parts of a training: network, optimiser, loss, augmentation, average of weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from medseg.losses import Loss, build_loss
from medseg.networks import build_network
from medseg.training.checkpoint import load_checkpoint, save_checkpoint
from medseg.training.ema import Average
from medseg.training.rng import restore_rng, rng_state
from medseg.training.state import State
from medseg.training.task import Recipe, Task
from medseg.transforms import Augmenter

logger = logging.getLogger(__name__)


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

    @property
    def kept(self) -> nn.Module:
        """The network that is validated and kept: the average where there is one."""
        return self.average.network if self.average else self.module

    def save(self, task: Task, state: State) -> None:
        """Write a checkpoint; only the first process does."""
        if not self.fabric.is_global_zero:
            return
        save_checkpoint(
            task.folder,
            {
                "network": self.module.state_dict(),
                "average": self.average.network.state_dict() if self.average else None,
                "optimizer": self.bare_optimizer.state_dict(),
                "scaler": self.fabric.strategy.precision.state_dict(),
                "rng": rng_state(),
                "state": state.to_dict(),
            },
        )

    def restore(self, task: Task) -> State:
        """Go on from the folder's checkpoint; without one, return the state of a fresh start."""
        content = load_checkpoint(task.folder)
        if content is None:
            return State()
        self.module.load_state_dict(content["network"])
        if self.average:
            self.average.network.load_state_dict(content["average"])
        self.bare_optimizer.load_state_dict(content["optimizer"])
        self.fabric.strategy.precision.load_state_dict(content["scaler"])
        restore_rng(content["rng"])
        state = State.from_dict(content["state"])
        logger.info("resuming at step %d, %.0f s used", state.step, state.seconds)
        return state


def build_learner(fabric: Fabric, task: Task) -> Learner:
    """Build all parts; equal seeds give equal weights on every process."""
    recipe, plan = task.recipe, task.plan
    torch.manual_seed(recipe.seed)
    module = build_network(plan.network, plan.slice_axis)
    module.to(memory_format=memory_format(module, fabric.device, recipe))  # type: ignore[call-overload]
    optimizer = build_optimizer(module, recipe)
    network, wrapped = fabric.setup(module, optimizer)
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
        ),
        average=Average(module, recipe.ema) if recipe.ema > 0 else None,
    )


def build_optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW, or SGD with Nesterov momentum 0.99; norms and biases are not decayed."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.99, nesterov=True)


def memory_format(module: nn.Module, device: torch.device, recipe: Recipe) -> torch.memory_format:
    """Return channels-last where mixed precision convolutions gain by it.

    Measured for 3-D on the CPU (bf16, two cores) and long known for 2-D; 3-D on CUDA is left as
    it is.
    """
    if recipe.precision == "32-true":
        return torch.contiguous_format
    volumes = any(p.ndim == 5 for p in module.parameters())
    if not volumes:
        return torch.channels_last
    return torch.channels_last_3d if device.type == "cpu" else torch.contiguous_format
