"""The page of one case, for a clinician."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medseg.reporting.case_report import CaseReport
from medseg.reporting.figure import data_uri
from medseg.reporting.render import About, render
from medseg.reporting.words import flags, summary_sentences


def render_case_page(
    report: CaseReport,
    folder: Path,
    about: About,
    *,
    usual: Mapping[str, int],
    identifiers: Mapping[str, str] | None = None,
    index: str | None = "../index.html",
) -> str:
    """Return the page of a case as one HTML document that needs no other file.

    Parameters
    ----------
    report : CaseReport
    folder : Path
        Holds the report's pictures.
    about : About
        For the footer.
    usual : mapping of str to int
        Most pieces a structure usually has (`medseg.reporting.words.usual_components`).
    identifiers : mapping of str to str, optional
        Name and value of what identifies the patient, where the user asked to keep it.
    index : str, optional
        Address of the cohort page, relative to this one.
    """
    return render(
        "case.html.j2",
        report=report,
        pictures=[(p, data_uri((folder / p.file).read_bytes())) for p in report.pictures],
        sentences=summary_sentences(report),
        flags=flags(report, usual),
        scored=bool(report.scores),
        tolerances=sorted({s.nsd_tolerance_mm for s in report.scores}),
        about=about,
        identifiers=dict(identifiers or {}),
        index=index,
    )
