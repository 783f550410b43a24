"""Write the folder that a reader opens: pages, tables and JSON."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.finished import ReportFiles
from medseg.reporting.case_context import CaseContext, case_contexts
from medseg.reporting.case_page import render_case_page
from medseg.reporting.case_report import CaseReport
from medseg.reporting.cohort_page import Cohort, render_cohort_page, structure_colors
from medseg.reporting.pdf import pdf_bytes
from medseg.reporting.pixels import (
    pixel_headline,
    pixel_results,
    pixel_section,
    write_pixels,
)
from medseg.reporting.render import About
from medseg.reporting.tables import (
    SCORED_ROLES,
    headline,
    write_case_json,
    write_metrics,
    write_summary,
)


@dataclass(frozen=True, kw_only=True)
class ReportInput:
    """Where a case's pictures lie, and what may be shown of who it is."""

    folder: Path
    identifiers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class PageOptions:
    """What the pages of the cases come with."""

    viewer: bool = True
    """Hold the interactive viewer and its volumes (1 to 7 MB each)."""
    pdf: bool = False
    """Write each page as PDF too."""


def write_report(
    folder: Path,
    cohort: Cohort,
    about: About,
    inputs: Mapping[str, ReportInput],
    class_names: tuple[str, ...],
    options: PageOptions = PageOptions(),
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
    options : PageOptions
        What the pages of the cases come with.
    """
    shutil.rmtree(folder, ignore_errors=True)
    cases = folder / "cases"
    cases.mkdir(parents=True)
    contexts = case_contexts(
        cohort.reports, cohort.usual, cohort.training, about.info.modality, cohort.calibrations
    )
    for report in cohort.reports:
        context = contexts[report.case]
        write_case(cases, report, context, about, inputs[report.case], options)
    metrics, summary = folder / "metrics.csv", folder / "summary.json"
    write_metrics(metrics, cohort.reports, cohort.unit)
    found = [pixel_results(cohort.reports, role, class_names) for role in cohort.summaries]
    photos = [one for one in found if one is not None]  # the headline's role is the first
    pixels, section = None, None
    if photos:
        pixels = write_pixels(folder, photos[0], photos[1:])
        folders = {name: given.folder for name, given in inputs.items()}
        section = pixel_section(photos, structure_colors(cohort.reports), folders)
    write_summary(
        summary,
        cohort.summaries,
        about.info,
        cohort.unit,
        pixels,
        cohort.folds,
        [check for role in SCORED_ROLES for check in cohort.estimate_checks(role)],
        cohort.score or ("miou" if photos else "dice"),
    )
    page = render_cohort_page(cohort, about, section)
    (folder / "index.html").write_text(page, encoding="utf-8")
    set_scores = {key: value for one in photos for key, value in pixel_headline(one).items()}
    return ReportFiles(
        folder=folder,
        metrics=metrics,
        summary=summary,
        headline={**headline(cohort.summaries, cohort.unit), **set_scores},
    )


def write_case(
    folder: Path,
    report: CaseReport,
    context: CaseContext,
    about: About,
    given: ReportInput,
    options: PageOptions,
) -> None:
    """Write the page of one case, its PDF and its JSON, all from the same report.

    Parameters
    ----------
    folder : Path
        Gets ``<case>.html``, ``<case>.json`` and, where asked for, ``<case>.pdf``.
    report : CaseReport
    context : CaseContext
        What the cohort and the training data say about the case.
    about : About
        For the footer.
    given : ReportInput
        Its pictures.
    options : PageOptions
    """
    page = render_case_page(
        report,
        given.folder,
        about,
        context,
        identifiers=given.identifiers,
        viewer=options.viewer,
    )
    (folder / f"{report.case}.html").write_text(page, encoding="utf-8")
    write_case_json(folder / f"{report.case}.json", report, about.info, context)
    if options.pdf:
        printed = render_case_page(
            report,
            given.folder,
            about,
            context,
            identifiers=given.identifiers,
            index=None,
            viewer=False,
        )
        (folder / f"{report.case}.pdf").write_bytes(pdf_bytes(printed))
