"""Post-process: clean each structure by rules that validation bore out; write what users get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from medseg.artefacts import Dataset, Plan, Predictions, Segmentations, TrainedModel
from medseg.stages.context import Context


@dataclass(frozen=True, kw_only=True)
class Postprocess:
    """Largest component, minimum volume and hole filling per structure, then the original grid."""

    writes: ClassVar[str] = "segmentations"
    publishes: ClassVar[tuple[str, ...]] = ("predictions", "model")
    rules: dict[str, dict[str, Any]] | Literal["auto", "off"] = "auto"
    """auto: what raises the validation Dice; or per structure name the fields of a rule."""

    def run(
        self,
        dataset: Dataset,
        plan: Plan,
        predictions: Predictions,
        model: TrainedModel,
        context: Context,
    ) -> Segmentations:
        """Return the finished predictions and the model folder."""
        raise NotImplementedError
