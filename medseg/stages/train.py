"""Train: fit the planned network within a budget; keep the best weights on whole validation cases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from medseg.artefacts import PatchIndex, Plan, Resampled, TrainedModel
from medseg.stages.context import Context


@dataclass(frozen=True, kw_only=True)
class Train:
    """Fit the network; a killed run goes on from its last checkpoint, exactly."""

    writes: ClassVar[str] = "model"
    budget: str = "2h"
    """``90s``, ``10min``, ``2h`` of wall time, or ``50000it`` of optimiser steps."""
    batch_size: int | Literal["auto"] = "auto"
    fold: int = 0
    """Fold whose cases validate; the others train."""
    loss: dict[str, Any] = field(default_factory=lambda: {"name": "dice_ce"})
    """Loss name and its arguments."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float | Literal["auto"] = "auto"
    """Peak learning rate; auto: 2e-3 for adamw, 1e-2 for sgd."""
    weight_decay: float = 3e-5
    schedule: Literal["cosine", "poly"] = "cosine"
    """Shape of the learning rate over the budget, after a short linear warm-up."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """auto: bf16-mixed where the device computes it natively, else 32-true."""
    augment: dict[str, Any] = field(default_factory=dict)
    """Overrides of the augmentation's defaults, by transform name; ``{enabled: false}`` for none."""
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

    def run(
        self, resampled: Resampled, patches: PatchIndex, plan: Plan, context: Context
    ) -> TrainedModel:
        """Return the trained model."""
        raise NotImplementedError
