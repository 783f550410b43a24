"""Mean losses, summed on the device so that a GPU is not waited for at every step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from medseg.errors import StageError


class NotFiniteError(StageError):
    """A loss or a weight is NaN or infinite.

    Attributes
    ----------
    step : int
        The first such step.
    """

    def __init__(self, step: int) -> None:
        super().__init__(step)  # what pickle hands back on the way from another process
        self.step = step

    def __str__(self) -> str:
        return (
            f"train: the loss is not finite (NaN or infinite) at step {self.step}; "
            "lower train.lr or train.gradient_clip, or set train.precision=32-true; "
            "if it happens at once, look for extreme voxels in the images with 'medseg check'"
        )


class Meter:
    """Sums of named scalars since the last `reset`; remembers a loss that was not finite."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.bad_step = torch.tensor(math.inf, dtype=torch.float64)

    def add(self, step: int, values: dict[str, Tensor]) -> None:
        """Take in the detached scalars of a step; the one named ``loss`` is watched."""
        loss = values["loss"]
        self.bad_step = self.bad_step.to(loss.device)
        bad = torch.where(loss.isfinite(), math.inf, float(step)).double()
        self.bad_step = torch.minimum(self.bad_step, bad)
        for name, value in values.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name].to(value.device) + value if self.count else value
        self.count += 1

    def check(self) -> None:
        """Raise if any loss since the start was not finite.

        Raises
        ------
        NotFiniteError
            It names the first such step, and what to change.
        """
        first = float(self.bad_step)
        if math.isfinite(first):
            raise NotFiniteError(int(first))

    def means(self) -> dict[str, float]:
        """Return the mean of each scalar; empty before the first step."""
        return {name: float(total) / self.count for name, total in self.sums.items()}

    def reset(self) -> None:
        """Start anew."""
        self.sums, self.count = {}, 0

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        return {"sums": {k: v.cpu() for k, v in self.sums.items()}, "count": self.count}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.sums, self.count = dict(state["sums"]), int(state["count"])
