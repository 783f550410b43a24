"""The page of a whole run: how good it is, on which cases, made how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.artefacts import Decision, PostprocessRule, SetAside
from medseg.metrics.aggregate import StructureSummary, mean_over_structures
from medseg.metrics.case import StructureScore
from medseg.reporting.case_report import CaseReport, Role
from medseg.reporting.charts import (
    agreement_alt,
    agreement_chart,
    distribution_alt,
    distribution_chart,
    training_chart,
)
from medseg.reporting.figure import data_uri
from medseg.reporting.render import About, render
from medseg.reporting.tables import headline_role
from medseg.reporting.words import flags


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
    history: Path | None
    """CSV of the training."""

    @property
    def role(self) -> Role | None:
        """Whose numbers are the headline: test cases, else validation cases, else none."""
        return headline_role(self.summaries)

    @property
    def unit(self) -> str:
        """Unit of lengths."""
        return self.reports[0].unit if self.reports else "mm"


def render_cohort_page(cohort: Cohort, about: About) -> str:
    """Return the page of a run as one HTML document that needs no other file.

    Parameters
    ----------
    cohort : Cohort
    about : About
        For the footer.
    """
    role = cohort.role
    rows = cohort.summaries[role] if role is not None else []
    return render(
        "cohort.html.j2",
        cohort=cohort,
        about=about,
        role=role,
        summaries=rows,
        means=mean_over_structures(rows),
        colors=_colors(cohort.reports),
        charts=_charts(cohort, role),
        flags={r.case: len(flags(r, cohort.usual)) for r in cohort.reports},
        counts={r: sum(c.role == r for c in cohort.reports) for r in _ROLES},
    )


_ROLES: tuple[Role, ...] = ("test", "validation", "predict")


def _charts(cohort: Cohort, role: Role | None) -> dict[str, Any]:
    """Draw the plots; each is an address and its words, or absent."""
    charts: dict[str, Any] = {}
    scores = _scores_by_structure(cohort.reports, role)
    if scores:
        colors = _colors(cohort.reports)
        charts["distribution"] = (
            data_uri(distribution_chart(scores, colors, cohort.unit)),
            distribution_alt(scores, cohort.unit),
        )
        charts["agreement"] = (
            data_uri(agreement_chart(scores, colors, cohort.unit)),
            agreement_alt(scores, cohort.unit),
        )
    training = training_chart(cohort.history) if cohort.history is not None else None
    if training is not None:
        charts["training"] = (
            data_uri(training),
            "Training loss and validation Dice over the optimiser steps.",
        )
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


def _colors(reports: Sequence[CaseReport]) -> dict[str, str]:
    """Return each structure's colour."""
    return {s.name: s.color for report in reports for s in report.structures}
