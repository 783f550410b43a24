"""The page of one case, for a clinician."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medseg.metrics.case import StructureScore
from medseg.reporting.case_context import CaseContext
from medseg.reporting.case_report import CaseReport
from medseg.reporting.figure import data_uri
from medseg.reporting.render import About, render
from medseg.reporting.viewer import viewer_parts
from medseg.reporting.words import flags, joined, summary_sentences

LESIONS_SHOWN = 25
"""Rows of a table of lesions; the JSON file has more."""
METRIC_NAMES = {
    "dice": "Dice",
    "nsd": "NSD",
    "hd95_mm": "HD95",
    "relative_volume_error": "volume error",
}


def render_case_page(
    report: CaseReport,
    folder: Path,
    about: About,
    context: CaseContext,
    *,
    identifiers: Mapping[str, str] | None = None,
    index: str | None = "../index.html",
    viewer: bool = True,
) -> str:
    """Return the page of a case as one HTML document that needs no other file.

    Parameters
    ----------
    report : CaseReport
    folder : Path
        Holds the report's pictures and the viewer's volumes.
    about : About
        For the footer.
    context : CaseContext
        What the cohort and the training data say about the case.
    identifiers : mapping of str to str, optional
        Name and value of what identifies the patient, where the user asked to keep it.
    index : str, optional
        Address of the cohort page, relative to this one.
    viewer : bool
        False leaves the interactive viewer out (print, PDF).
    """
    shown = report.viewer if viewer else None
    ct = about.info.modality.upper() == "CT"
    return render(
        "case.html.j2",
        report=report,
        pictures=[(p, data_uri((folder / p.file).read_bytes())) for p in report.pictures],
        sentences=summary_sentences(report, context.intervals),
        flags=flags(report, context.usual, context.checks),
        context=context,
        interval_notes=_interval_notes(context),
        intensity_unit="HU" if ct else "stored units",
        has_intensity=report.unit == "mm"
        and any(s.findings.intensity_mean is not None for s in report.structures),
        lesions_shown=LESIONS_SHOWN,
        metric_names=METRIC_NAMES,
        missing=[s for s in report.scores if s.status != "ok"],
        remark=_remark,
        scored=bool(report.scores),
        tolerances=sorted({s.nsd_tolerance_mm for s in report.scores}),
        viewer=None if shown is None else viewer_parts(shown, folder, _focus(report)),
        about=about,
        identifiers=dict(identifiers or {}),
        index=index,
    )


def _focus(report: CaseReport) -> tuple[float, ...] | None:
    """Return where a reader looks first: the largest lesion; None without one."""
    lesions = [one for s in report.structures for one in s.findings.lesions or ()]
    return max(lesions, key=lambda one: one.volume_ml).position if lesions else None


def _interval_notes(context: CaseContext) -> list[str]:
    """Say how each kind of interval was made, or why there is none, with the structures."""
    found: dict[str, list[str]] = {}
    for name, interval in context.intervals.items():
        found.setdefault(interval.method, []).append(name)
    return [f"{joined(names)}: {method}." for method, names in found.items()]


def _remark(score: StructureScore) -> str:
    """Say what an empty mask makes of the scores."""
    return {
        "missed": "missed: the prediction is empty",
        "false_alarm": "invented: the reference is empty",
        "both_empty": "not assessable: in neither mask",
        "ok": "",
    }[score.status]
