"""Report: metrics per case and label, and pages that a clinician can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

import medseg
from medseg.artefacts import Dataset, IngestedCase, Plan, SetAside
from medseg.case import Case
from medseg.expected import ExpectedDice
from medseg.finished import ReportFiles, Segmentations, SegmentedCase
from medseg.identifiers import Identifiers, shown_patients
from medseg.stages.context import CaseResults, Context
from medseg.trained import TrainedModel

if TYPE_CHECKING:
    from medseg.reporting.assess import AssessedCase
    from medseg.reporting.case_report import CaseReport, Role
    from medseg.reporting.render import About
    from medseg.reporting.write import ReportInput

BYTES_PER_VOXEL = 10
"""Prediction, reference and masks of one case, beside its image."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Score every annotated case and write the cohort page and one page per case."""

    writes: ClassVar[str] = "report"
    publishes: ClassVar[tuple[str, ...]] = ("report",)
    identifiers: Identifiers = "drop"
    """Patients in ids, tables, MLflow and pages: ``drop`` numbers them, ``hash`` gives each the
    same hash in every run, ``keep`` leaves their ids and file names as they are."""
    viewer: bool = True
    """Put an interactive viewer into each case page (1 to 7 MB)."""
    pdf: bool = False
    """Write each case page as PDF too; needs ``pip install 'medseg[report]'``."""

    def __post_init__(self) -> None:
        if self.pdf:
            from medseg.reporting.pdf import check_pdf

            check_pdf()

    def run(
        self,
        dataset: Dataset,
        plan: Plan,
        segmentations: Segmentations,
        model: TrainedModel,
        context: Context,
    ) -> ReportFiles:
        """Return the report's files."""
        from medseg.reporting.background import scans_of_training
        from medseg.reporting.cohort_page import Cohort
        from medseg.reporting.tables import summaries_by_role
        from medseg.reporting.words import usual_components
        from medseg.reporting.write import PageOptions, write_report

        ingested = {case.case.id: case for case in dataset.cases}
        assessed = _assess(dataset, segmentations, ingested, context)
        expected = {one.id: one.expected for one in segmentations.cases}
        reports, inputs = self._collect(assessed.done, ingested, expected)
        cohort = Cohort(
            reports=reports,
            summaries=summaries_by_role(reports),
            usual=usual_components(reports),
            set_aside=self._set_aside(context, assessed.set_aside),
            decisions=plan.decisions,
            rules=segmentations.rules,
            histories={one.fold: one.history for one in model.folds},
            training=scans_of_training(dataset, plan),
            stages=context.earlier_stages,
            calibrations=segmentations.calibrations,
            score=model.score,
        )
        names = ("background", *(label.name for label in dataset.scheme.labels))
        return write_report(
            context.workdir / "report",
            cohort,
            _about(dataset, model),
            inputs,
            names,
            PageOptions(viewer=self.viewer, pdf=self.pdf),
        )

    def _collect(
        self,
        assessed: Mapping[str, AssessedCase],
        ingested: Mapping[str, IngestedCase],
        expected: Mapping[str, tuple[ExpectedDice, ...]],
    ) -> tuple[tuple[CaseReport, ...], dict[str, ReportInput]]:
        """Read the case reports back and add what the data set knows of each case."""
        from medseg.reporting.case_report import load_report
        from medseg.reporting.write import ReportInput

        reports, inputs = [], {}
        groups = {name: ingested[name].case.group for name in assessed}
        patients = shown_patients(groups, self.identifiers, again=True)
        for name, found in assessed.items():
            source = ingested[name]
            notes = tuple(self._cleaned(text) for text in source.warnings)
            report = replace(
                load_report(found.report),
                notes=notes,
                group=patients[name],
                expected=expected.get(name, ()),
            )
            reports.append(report)
            inputs[name] = ReportInput(folder=found.folder, identifiers=self._identity(source))
        return tuple(reports), inputs

    def _set_aside(self, context: Context, own: tuple[SetAside, ...]) -> tuple[SetAside, ...]:
        """List the cases that this stage and earlier ones set aside."""
        rows = dict.fromkeys((*context.earlier_set_aside, *own))
        return tuple(replace(row, reason=self._cleaned(row.reason)) for row in rows)

    def _cleaned(self, text: str) -> str:
        """Take paths out of a message, unless identifiers are to be kept."""
        from medseg.reporting.render import without_paths

        return text if self.identifiers == "keep" else without_paths(text)

    def _identity(self, source: IngestedCase) -> dict[str, str]:
        """Return what identifies a case's patient, where it may be shown."""
        if self.identifiers != "keep":
            return {}
        shown = {"Image files": ", ".join(file.path.name for file in source.case.image)}
        return {"Patient": source.case.group, **shown} if source.case.group else shown


def _assess(
    dataset: Dataset,
    segmentations: Segmentations,
    ingested: Mapping[str, IngestedCase],
    context: Context,
) -> CaseResults[AssessedCase]:
    """Score and draw every segmented case, in parallel."""
    from medseg.reporting.assess import assess_case

    items: dict[str, dict[str, Any]] = {}
    largest = 0
    for segmented in segmentations.cases:
        source = ingested[segmented.id]
        if not _is_file_name(segmented.id):
            reason = "its id cannot be a file name; rename the case in the manifest or its files"
            context.set_aside(segmented.id, reason)
            continue
        items[segmented.id] = {
            "case": _without_split(source.case),
            "pred": segmented.pred,
            "scheme": dataset.scheme,
            "modality": dataset.info.modality,
            "role": _role(segmented, source),
            "fold": segmented.fold,
            "digest": source.digest,
        }
        voxels = 1
        for side in source.grid.shape:
            voxels *= side
        largest = max(largest, voxels)
    per_voxel = 4 * len(dataset.info.channels) + BYTES_PER_VOXEL
    return context.map_cases(assess_case, items, memory=largest * per_voxel)


def _role(segmented: SegmentedCase, source: IngestedCase) -> Role:
    """Tell what a case is for in the report."""
    if segmented.split == "predict" or not source.case.label:
        return "predict"
    return "test" if segmented.split == "test" else "validation"


def _without_split(case: Case) -> Case:
    """Keep what decides how a case looks, so that its result is found again."""
    return Case(id=case.id, image=case.image, label=case.label, annotated=case.annotated)


def _is_file_name(name: str) -> bool:
    """Tell whether an id names a file in the report's own folder on every system."""
    return bool(name) and not name.startswith(".") and not set(name) & set('/\\:*?"<>|\0')


def _about(dataset: Dataset, model: TrainedModel) -> About:
    """Collect what the footers say."""
    from medseg.reporting.render import About

    first, *others = model.folds
    trained = f"{first.best_step:,} of {first.steps:,} steps, fold {first.fold}"
    if others:
        trained = f"mean of the folds {', '.join(str(one.fold) for one in model.folds)}"
    return About(
        model=f"{model.network.name}, {trained}",
        version=medseg.__version__,
        info=dataset.info,
        made=date.today().isoformat(),
    )
