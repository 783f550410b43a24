"""Write the folder that a reader opens: pages, tables and JSON."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.artefacts import ReportFiles
from medseg.reporting.case_page import render_case_page
from medseg.reporting.cohort_page import Cohort, render_cohort_page
from medseg.reporting.render import About
from medseg.reporting.tables import (
    confusion_entry,
    headline,
    write_case_json,
    write_confusion,
    write_metrics,
    write_summary,
)


@dataclass(frozen=True, kw_only=True)
class ReportInput:
    """Where a case's pictures lie, and what may be shown of who it is."""

    folder: Path
    identifiers: Mapping[str, str]


def write_report(
    folder: Path,
    cohort: Cohort,
    about: About,
    inputs: Mapping[str, ReportInput],
    class_names: tuple[str, ...],
) -> ReportFiles:
    """Write the whole report, in place of what was in the folder.

    Parameters
    ----------
    folder : Path
        Becomes ``report/`` of the run.
    cohort : Cohort
        All cases and how they were made.
    about : About
        For the footers.
    inputs : mapping of str to ReportInput
        Case id to its pictures.
    class_names : tuple of str
        Background and labels, for the confusion matrix of photographs.
    """
    shutil.rmtree(folder, ignore_errors=True)
    cases = folder / "cases"
    cases.mkdir(parents=True)
    for report in cohort.reports:
        given = inputs[report.case]
        page = render_case_page(
            report, given.folder, about, usual=cohort.usual, identifiers=given.identifiers
        )
        (cases / f"{report.case}.html").write_text(page, encoding="utf-8")
        write_case_json(cases / f"{report.case}.json", report, about.info)
    metrics, summary = folder / "metrics.csv", folder / "summary.json"
    write_metrics(metrics, cohort.reports, cohort.unit)
    pixels = None
    matrices = [r.confusion for r in cohort.reports if r.role == cohort.role and r.confusion]
    if matrices:
        total = np.sum(np.array(matrices, dtype=np.int64), axis=0)
        write_confusion(folder / "confusion.csv", total, class_names)
        pixels = confusion_entry(total, class_names)
    write_summary(summary, cohort.summaries, about.info, cohort.unit, pixels)
    (folder / "index.html").write_text(render_cohort_page(cohort, about), encoding="utf-8")
    return ReportFiles(
        folder=folder,
        metrics=metrics,
        summary=summary,
        headline=headline(cohort.summaries, cohort.unit),
    )
