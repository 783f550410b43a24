"""Report: metrics per case and label, and pages that a clinician can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from medseg.artefacts import Dataset, Plan, ReportFiles, Segmentations, TrainedModel
from medseg.stages.context import Context


@dataclass(frozen=True, kw_only=True)
class Report:
    """Score every annotated case and write the cohort page and one page per case."""

    writes: ClassVar[str] = "report"
    publishes: ClassVar[tuple[str, ...]] = ("report",)
    identifiers: Literal["drop", "keep"] = "drop"
    """keep: patient identifiers of the source files may appear in the report."""

    def run(
        self,
        dataset: Dataset,
        plan: Plan,
        segmentations: Segmentations,
        model: TrainedModel,
        context: Context,
    ) -> ReportFiles:
        """Return the report's files."""
        raise NotImplementedError
