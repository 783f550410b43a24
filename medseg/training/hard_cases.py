"""How hard each case is to the network, and how much oftener it is drawn for that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor, distributed

LEAST, MOST = 0.5, 3.0
"""Bounds of a case's weight: nothing is forgotten, and a wrong annotation does not take over."""
KEPT = 0.5
"""What a running mean keeps of itself when it takes in an interval."""


class CaseTable:
    """Running mean of the training loss of each case's patches.

    Losses are summed on the device as they come; `settle`, between two intervals, takes them into
    the means. Weights follow from the means alone and change only there, so every process and every
    resumed run draws the same patches.
    """

    def __init__(self) -> None:
        self.means: dict[str, float] = {}
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, cases: Sequence[str], losses: Tensor) -> None:
        """Take in the detached losses (B,) of one batch's patches."""
        for case, loss in zip(cases, losses.double(), strict=True):
            self.sums[case] = self.sums[case].to(loss.device) + loss if case in self.sums else loss
            self.counts[case] = self.counts.get(case, 0) + 1

    def settle(self, fabric: Fabric) -> None:
        """Move the means by what all processes saw since the last time; cases unseen stay."""
        mine = {case: (float(total), self.counts[case]) for case, total in self.sums.items()}
        parts = [mine]
        if fabric.world_size > 1:
            parts = [{} for _ in range(fabric.world_size)]
            distributed.all_gather_object(parts, mine)
        for case in sorted({case for part in parts for case in part}):
            seen = [part[case] for part in parts if case in part]
            mean = math.fsum(total for total, _ in seen) / sum(count for _, count in seen)
            before = self.means.get(case, mean)
            self.means[case] = KEPT * before + (1 - KEPT) * mean
        self.sums, self.counts = {}, {}

    def weights(self) -> dict[str, float]:
        """Return each case's weight: its mean loss over that of all cases, within bounds.

        A case that has not been seen is not named; it counts as 1.
        """
        return case_weights(self.means)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        sums = {case: total.detach().cpu() for case, total in self.sums.items()}
        return {"means": dict(self.means), "sums": sums, "counts": dict(self.counts)}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.means = dict(state["means"])
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])


def case_weights(means: dict[str, float]) -> dict[str, float]:
    """Return mean losses over their average, from `LEAST` to `MOST`; all 1 where that is not > 0.

    Examples
    --------
    >>> case_weights({"easy": 0.1, "plain": 0.5, "hard": 0.9})
    {'easy': 0.5, 'plain': 1.0, 'hard': 1.8}
    """
    if not means:
        return {}
    average = sum(means.values()) / len(means)
    if not average > 0:
        return dict.fromkeys(means, 1.0)
    return {case: min(MOST, max(LEAST, mean / average)) for case, mean in means.items()}
