"""Infer: sliding window over whole cases, back on each case's canonical grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from medseg.artefacts import Plan, Predictions, Resampled, TrainedModel
from medseg.stages.context import Context


@dataclass(frozen=True, kw_only=True)
class Infer:
    """Predict validation, test and unlabelled cases."""

    writes: ClassVar[str] = "predictions"
    overlap: float = 0.5
    """Share of a tile that the next one covers again."""
    mirror: bool = False
    """Average over flips of the planned axes; costs 2^axes the time."""
    batch_size: int | Literal["auto"] = "auto"
    """Tiles per forward pass."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"

    def run(
        self, resampled: Resampled, plan: Plan, model: TrainedModel, context: Context
    ) -> Predictions:
        """Return one raw prediction per case, on its canonical grid."""
        raise NotImplementedError
