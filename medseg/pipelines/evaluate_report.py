"""What `medseg evaluate` shows: tables and pages in a folder, a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.artefacts import DataInfo, SetAside
from medseg.finished import ReportFiles
from medseg.pipelines.label_table import LabelTable
from medseg.pipelines.mask_pairs import STAGE

if TYPE_CHECKING:
    from medseg.metrics.aggregate import StructureSummary
    from medseg.reporting.assess import AssessedCase


def write_evaluation(
    folder: Path,
    assessed: Mapping[str, AssessedCase],
    set_aside: Sequence[SetAside],
    table: LabelTable,
    title: str,
) -> tuple[ReportFiles, tuple[StructureSummary, ...]]:
    """Write tables and pages.

    Parameters
    ----------
    folder : Path
        Becomes the report.
    assessed : mapping of str to AssessedCase
        By name of the pair.
    set_aside : sequence of SetAside
    table : LabelTable
    title : str

    Returns
    -------
    ReportFiles
    tuple of StructureSummary
        One per structure.
    """
    import medseg
    from medseg.reporting.case_report import load_report
    from medseg.reporting.cohort_page import Cohort
    from medseg.reporting.render import About, without_paths
    from medseg.reporting.tables import summaries_by_role
    from medseg.reporting.words import usual_components
    from medseg.reporting.write import ReportInput, write_report

    reports = tuple(load_report(one.report) for one in assessed.values())
    summaries = summaries_by_role(reports)
    cohort = Cohort(
        reports=reports,
        summaries=summaries,
        usual=usual_components(reports),
        set_aside=tuple(
            SetAside(case=row.case, stage=row.stage, reason=without_paths(row.reason))
            for row in set_aside
        ),
        decisions=(),
        rules=(),
        histories={},
    )
    info = DataInfo(
        name=STAGE,
        title=title,
        modality="unknown",
        channels=(),
        origin="unknown",
        licence="unknown",
        citation="",
        digest="",
    )
    about = About(model="", version=medseg.__version__, info=info, made=date.today().isoformat())
    names = ("background", *(label.name for label in table.scheme.labels))
    inputs = {
        name: ReportInput(folder=one.folder, identifiers={}) for name, one in assessed.items()
    }
    written = write_report(folder, cohort, about, inputs, names)
    return written, tuple(summaries.get("test", ()))


def title_of(predictions: Path, references: Path) -> str:
    """Name what is compared, with the folders above where the names are equal."""
    pred, label = predictions.resolve(), references.resolve()
    if pred.name != label.name:
        return f"{pred.name} against {label.name}"
    return f"{pred.parent.name}/{pred.name} against {label.parent.name}/{label.name}"


def summary_lines(summaries: Sequence[StructureSummary]) -> list[str]:
    """Return a table for the terminal: a line per structure."""
    from medseg.reporting.words import number

    rows = [("structure", "n", "dice", "nsd", "hd95", "ok/missed/invented/in neither")]
    for one in summaries:
        counts = (one.counts[s] for s in ("ok", "missed", "false_alarm", "both_empty"))
        rows.append(
            (
                one.structure,
                str(one.metrics["dice"].n),
                number(one.metrics["dice"].mean, 4),
                number(one.metrics["nsd"].mean, 4),
                number(one.metrics["hd95_mm"].mean, 2),
                "/".join(map(str, counts)),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
