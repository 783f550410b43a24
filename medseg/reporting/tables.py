"""Tables and JSON for programs: metrics.csv, summary.json, one JSON per case."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.artefacts import DataInfo
from medseg.metrics.aggregate import ScoredCase, StructureSummary, aggregate, mean_over_structures
from medseg.metrics.bootstrap import DRAWS, SEED
from medseg.metrics.confusion import confusion_scores
from medseg.reporting.case_context import NOTHING_KNOWN, CaseContext
from medseg.reporting.case_report import CaseReport, Role, StructureReport
from medseg.reporting.folds import FoldResult
from medseg.reporting.quality import EstimateCheck
from medseg.reporting.words import flags
from medseg.trained import Score

METRICS = (
    "status",
    "dice",
    "iou",
    "precision",
    "recall",
    "hd_mm",
    "hd95_mm",
    "assd_mm",
    "nsd",
    "nsd_tolerance_mm",
    "volume_ml",
    "reference_volume_ml",
    "volume_error_ml",
    "relative_volume_error",
    "components",
)
"""Columns of metrics.csv after case, label, split and fold."""

PATIENT = "patient"
"""Optional last column of metrics.csv: scans of one patient do not count as independent."""

SCORED_ROLES: tuple[Role, ...] = ("test", "validation")


def column(name: str, unit: str) -> str:
    """Return a metric's column name; photographs count in px.

    Examples
    --------
    >>> column("hd95_mm", "mm"), column("hd95_mm", "px"), column("volume_ml", "px")
    ('hd95_mm', 'hd95_px', 'volume_px')
    """
    if unit == "px" and name.endswith(("_mm", "_ml")):
        return name[:-3] + "_px"
    return name


def summaries_by_role(reports: Sequence[CaseReport]) -> dict[Role, list[StructureSummary]]:
    """Summarise the scored cases, test and validation apart; roles without a case are absent."""
    found = {}
    for role in SCORED_ROLES:
        cases = [
            ScoredCase(case=r.case, group=r.group, scores=r.scores)
            for r in reports
            if r.role == role and r.scores
        ]
        if cases:
            found[role] = aggregate(cases)
    return found


def headline(summaries: Mapping[Role, list[StructureSummary]], unit: str) -> dict[str, float]:
    """Return ``test/<metric>/<structure>`` and ``test/<metric>/mean`` for the tracker.

    Without a test case the validation cases speak, and the keys begin with ``val``. What is not
    defined is left out.
    """
    role = headline_role(summaries)
    if role is None:
        return {}
    prefix = "test" if role == "test" else "val"
    found = {}
    for summary in summaries[role]:
        for metric, values in summary.metrics.items():
            found[f"{prefix}/{column(metric, unit)}/{summary.structure}"] = values.mean
    for metric, mean in mean_over_structures(summaries[role]).items():
        found[f"{prefix}/{column(metric, unit)}/mean"] = mean
    return {key: value for key, value in found.items() if math.isfinite(value)}


def headline_role(summaries: Mapping[Role, list[StructureSummary]]) -> Role | None:
    """Name the cases that the headline is about: test, else validation, else none."""
    return next((role for role in SCORED_ROLES if role in summaries), None)


def write_metrics(file: Path, reports: Sequence[CaseReport], unit: str) -> None:
    """Write one row per scored case and structure; undefined is empty, infinite is ``inf``.

    Where patients are known, the last column names them as ``report.identifiers`` allows.
    """
    patients = [PATIENT] if any(report.group for report in reports) else []
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["case", "label", "split", "fold", *(column(m, unit) for m in METRICS), *patients]
        )
        for report in reports:
            fold = "" if report.fold is None else report.fold
            for score in report.scores:
                cells = [_cell(getattr(score, metric)) for metric in METRICS]
                whose = [report.group or ""] if patients else []
                writer.writerow([report.case, score.structure, report.role, fold, *cells, *whose])


def write_summary(
    file: Path,
    summaries: Mapping[Role, list[StructureSummary]],
    info: DataInfo,
    unit: str,
    pixels: Mapping[str, Any] | None = None,
    folds: Sequence[FoldResult] = (),
    estimates: Sequence[EstimateCheck] = (),
    score: Score = "dice",
) -> None:
    """Write the summary of each split per structure, with the rules it was made by.

    ``folds`` are the results of a cross-validation; their cases are the split ``validation``.
    ``pixels`` is what `confusion_entry` says of the confusion matrix of photographs, ``estimates``
    how well the Dice was foretold, ``score`` what decides which of two runs is better.
    """
    splits = {
        role: {
            "labels": {s.structure: _summary_entry(s, unit) for s in rows},
            "mean_over_labels": {
                column(metric, unit): value for metric, value in mean_over_structures(rows).items()
            },
        }
        for role, rows in summaries.items()
    }
    document: dict[str, Any] = {
        "data": asdict(info),
        "headline": headline_role(summaries),
        "score": score,
        "splits": splits,
        "rules": {
            "interval": f"95 % percentile bootstrap of the mean, {DRAWS} draws, seed {SEED}",
            "infinite_distance": "counts as the diagonal of its image (missed, false_alarm)",
            "undefined": "null; left out of means, see n and counts",
            "patients": "scans of one patient are averaged first; n counts patients",
            "sd": "sample standard deviation (n - 1)",
        },
    }
    if folds:
        document["folds"] = [asdict(one) for one in folds]
    if estimates:
        document["expected_dice"] = [asdict(one) for one in estimates if one.cases]
    if pixels is not None:
        document["pixels"] = pixels
    write_json(file, document)


def confusion_entry(matrix: NDArray[np.int64], names: Sequence[str]) -> dict[str, Any]:
    """Lay out the scores of a data set's confusion matrix, background included.

    Parameters
    ----------
    matrix : int64 ndarray of shape (K, K)
        Added up over all photographs; rows are the truth.
    names : sequence of str
        Of the classes, background first.
    """
    scores = asdict(confusion_scores(matrix))
    overall = {key: value for key, value in scores.items() if isinstance(value, float)}
    per_class = {key: value.tolist() for key, value in scores.items() if key not in overall}
    classes = {
        name: {key: values[i] for key, values in per_class.items()} for i, name in enumerate(names)
    }
    return {**overall, "classes": classes}


def write_case_json(
    file: Path, report: CaseReport, info: DataInfo, context: CaseContext = NOTHING_KNOWN
) -> None:
    """Write one case for programs: the same facts as its page."""
    unit = report.unit
    write_json(
        file,
        {
            "case": report.case,
            "split": report.role,
            "fold": report.fold,
            "shape": report.shape,
            column("spacing_mm", unit): report.spacing,
            "structures": [_structure_entry(s, unit, context) for s in report.structures],
            "flags": flags(report, context.usual, context.checks),
            "checks": [asdict(check) for check in context.checks],
            "standing": [
                {**asdict(row), "metric": column(row.metric, unit)} for row in context.standings
            ],
            "expected_dice": [asdict(one) for one in report.expected],
            "estimate": context.estimate,
            "notes": report.notes,
            "data": info.name,
            "origin": info.origin,
            "not_for_diagnostic_use": True,
        },
    )


def _structure_entry(structure: StructureReport, unit: str, context: CaseContext) -> dict[str, Any]:
    """Lay out one structure of a case."""
    found = structure.findings
    entry: dict[str, Any] = {
        "label": structure.name,
        column("volume_ml", unit): structure.size.volume_ml,
        "components": structure.size.components,
        "edges_touched": structure.edges,
        column("diameter_mm", unit): found.diameter_mm,
        column("axial_diameter_mm", unit): found.axial_diameter_mm,
        "axial_slice": found.axial_slice,
        "intensity_mean": found.intensity_mean,
        "intensity_sd": found.intensity_sd,
    }
    interval = context.intervals.get(structure.name)
    if interval is not None:
        entry["volume_interval"] = {column(k, unit): v for k, v in asdict(interval).items()}
    if found.lesions is not None:
        entry["lesions"] = [
            {column(key, unit): value for key, value in asdict(lesion).items()}
            for lesion in found.lesions
        ]
        entry["lesions_left_out"] = found.lesions_left_out
    if structure.score is not None:
        scores = {m: getattr(structure.score, m) for m in METRICS}
        entry["scores"] = {column(m, unit): value for m, value in scores.items()}
    return entry


def write_confusion(file: Path, matrix: NDArray[np.int64], names: Sequence[str]) -> None:
    """Write a confusion matrix with its class names; rows are the truth."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["truth", *names])
        for name, row in zip(names, matrix.tolist(), strict=True):
            writer.writerow([name, *row])


def write_json(file: Path, document: Any) -> None:
    """Write standard JSON: NaN and infinity, which it cannot say, become null."""
    text = json.dumps(_plain(document), indent=2, allow_nan=False, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")


def _summary_entry(summary: StructureSummary, unit: str) -> dict[str, Any]:
    """Lay out one structure's summary."""
    metrics = {}
    for metric, values in summary.metrics.items():
        entry = asdict(values)
        entry["iqr"] = [entry.pop("q1"), entry.pop("q3")]
        entry["interval_95"] = [entry.pop("low"), entry.pop("high")]
        metrics[column(metric, unit)] = entry
    return {
        "cases": summary.cases,
        "counts": dict(summary.counts),
        "pooled_dice": summary.pooled_dice,
        "metrics": metrics,
    }


def _plain(value: Any) -> Any:
    """Replace what JSON cannot hold, at any depth."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cell(value: str | int | float) -> str | int:
    """Write one cell of metrics.csv."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.10g}"
    return value
