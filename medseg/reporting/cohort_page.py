"""The page of a whole run: how good it is, on which cases, made how."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medseg.artefacts import Decision, SetAside, StageTime
from medseg.expected import Calibration
from medseg.finished import PostprocessRule
from medseg.metrics.aggregate import StructureSummary, mean_over_structures
from medseg.metrics.case import StructureScore
from medseg.reporting.case_context import case_contexts
from medseg.reporting.case_report import CaseReport, Role
from medseg.reporting.charts import (
    agreement_alt,
    agreement_chart,
    distribution_alt,
    distribution_chart,
    size_alt,
    size_chart,
    training_chart,
)
from medseg.reporting.figure import data_uri
from medseg.reporting.folds import FoldResult, fold_results
from medseg.reporting.quality import (
    JUDGED_FROM,
    PERCENT,
    EstimateCheck,
    check_estimates,
    estimate_pairs,
)
from medseg.reporting.quality_chart import estimate_alt, estimate_chart
from medseg.reporting.render import About, render
from medseg.reporting.scan_checks import TrainingScans
from medseg.reporting.tables import SCORED_ROLES, headline_role
from medseg.reporting.words import flags
from medseg.trained import Score


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """All that the cohort page shows."""

    reports: tuple[CaseReport, ...]
    summaries: Mapping[Role, list[StructureSummary]]
    usual: Mapping[str, int]
    """Most pieces a structure usually has."""
    set_aside: tuple[SetAside, ...]
    decisions: tuple[Decision, ...]
    rules: tuple[PostprocessRule, ...]
    histories: Mapping[int, Path]
    """Fold to the CSV of its training."""
    training: TrainingScans | None = None
    """What the training scans looked like; None where nothing is known of them."""
    stages: tuple[StageTime, ...] = ()
    """What the stages before the report took."""
    calibrations: tuple[Calibration, ...] = ()
    """What the estimates of quality rest on."""
    score: Score | None = None
    """What decided which step of the model is kept; None without a model."""

    @property
    def role(self) -> Role | None:
        """Whose numbers are the headline: test cases, else validation cases, else none."""
        return headline_role(self.summaries)

    @property
    def folds(self) -> tuple[FoldResult, ...]:
        """Out-of-fold results of each fold, where there are several."""
        return fold_results(self.reports)

    def estimate_checks(self, role: Role) -> tuple[EstimateCheck, ...]:
        """How the estimates of quality met the Dice of the cases of a role."""
        return check_estimates(self.reports, self.calibrations, role)

    @property
    def unit(self) -> str:
        """Unit of lengths."""
        return self.reports[0].unit if self.reports else "mm"


def render_cohort_page(
    cohort: Cohort, about: About, pixels: Mapping[str, Any] | None = None
) -> str:
    """Return the page of a run as one HTML document that needs no other file.

    Parameters
    ----------
    cohort : Cohort
    about : About
        For the footer.
    pixels : mapping, optional
        Of photographs: `medseg.reporting.pixels.pixel_section`.
    """
    role = cohort.role
    rows = cohort.summaries[role] if role is not None else []
    by: Literal["dice", "iou"] = "iou" if cohort.score == "miou" else "dice"
    return render(
        "cohort.html.j2",
        cohort=cohort,
        about=about,
        role=role,
        pixels=pixels,
        summaries=rows,
        means=mean_over_structures(rows),
        out_of_fold=mean_over_structures(cohort.summaries.get("validation", [])),
        colors=structure_colors(cohort.reports),
        charts=_charts(cohort, role),
        flags=_flag_counts(cohort, about.info.modality),
        calibrations=cohort.calibrations,
        estimates={r: {c.structure: c for c in cohort.estimate_checks(r)} for r in SCORED_ROLES},
        judged_from=JUDGED_FROM,
        percent=PERCENT,
        worst_first=sorted(cohort.reports, key=lambda report: _badness(report, by)),
        sorted_by={"dice": "Dice", "iou": "IoU"}[by],
        counts={r: sum(c.role == r for c in cohort.reports) for r in _ROLES},
    )


_ROLES: tuple[Role, ...] = ("test", "validation", "predict")


def _badness(report: CaseReport, metric: Literal["dice", "iou"]) -> tuple[bool, float]:
    """Return what sorts cases: the lowest mean score first, cases without any last."""
    values = [float(getattr(one, metric)) for one in report.scores]
    known = [value for value in values if not math.isnan(value)]
    return not known, statistics.fmean(known) if known else 0.0


def _flag_counts(cohort: Cohort, modality: str) -> dict[str, int]:
    """Count what is to be checked in each case."""
    contexts = case_contexts(cohort.reports, cohort.usual, cohort.training, modality)
    return {r.case: len(flags(r, cohort.usual, contexts[r.case].checks)) for r in cohort.reports}


def _charts(cohort: Cohort, role: Role | None) -> dict[str, Any]:
    """Draw the plots; each is an address and its words, or absent."""
    charts: dict[str, Any] = {}
    scores = _scores_by_structure(cohort.reports, role)
    if scores:
        colors = structure_colors(cohort.reports)
        charts["distribution"] = (
            data_uri(distribution_chart(scores, colors, cohort.unit)),
            distribution_alt(scores, cohort.unit),
        )
        charts["agreement"] = (
            data_uri(agreement_chart(scores, colors, cohort.unit)),
            agreement_alt(scores, cohort.unit),
        )
        charts["size"] = (
            data_uri(size_chart(scores, colors, cohort.unit)),
            size_alt(scores, cohort.unit),
        )
    if role is not None:
        checks = [one for one in cohort.estimate_checks(role) if one.cases]
        pairs = {c.structure: estimate_pairs(cohort.reports, c.structure, role) for c in checks}
        if pairs:
            colors = structure_colors(cohort.reports)
            charts["estimate"] = (data_uri(estimate_chart(pairs, colors)), estimate_alt(checks))
    several, measure = len(cohort.histories) > 1, "IoU" if cohort.score == "miou" else "Dice"
    drawn = {fold: training_chart(file) for fold, file in sorted(cohort.histories.items())}
    training = [
        (
            data_uri(chart),
            f"{f'Fold {fold}: t' if several else 'T'}raining loss and validation {measure} over "
            "the optimiser steps.",
        )
        for fold, chart in drawn.items()
        if chart is not None
    ]
    if training:
        charts["training"] = training
    return charts


def _scores_by_structure(
    reports: Sequence[CaseReport], role: Role | None
) -> dict[str, list[StructureScore]]:
    """Collect each structure's scores over the cases of a role, in report order."""
    found: dict[str, list[StructureScore]] = {}
    for report in reports:
        if report.role == role:
            for score in report.scores:
                found.setdefault(score.structure, []).append(score)
    return found


def structure_colors(reports: Sequence[CaseReport]) -> dict[str, str]:
    """Return each structure's colour."""
    return {s.name: s.color for report in reports for s in report.structures}
