"""Results of a cross-validation, fold by fold."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medseg.reporting.case_report import CaseReport


@dataclass(frozen=True, kw_only=True)
class FoldResult:
    """How the network of one fold did on the cases that it did not see."""

    fold: int
    cases: int
    dice: Mapping[str, float]
    """Mean Dice per structure; scans of one patient are averaged first."""
    mean_dice: float
    """Mean over the structures."""


def fold_results(reports: Sequence[CaseReport]) -> tuple[FoldResult, ...]:
    """Return the validation results of each fold; nothing where there are not several.

    Parameters
    ----------
    reports : sequence of CaseReport
        Of all cases; those that are not out-of-fold cases are passed over.
    """
    by_fold: dict[int, list[CaseReport]] = {}
    for report in reports:
        if report.role == "validation" and report.fold is not None and report.scores:
            by_fold.setdefault(report.fold, []).append(report)
    return tuple(_result(fold, by_fold[fold]) for fold in sorted(by_fold) if len(by_fold) > 1)


def _result(fold: int, reports: Sequence[CaseReport]) -> FoldResult:
    """Sum up one fold."""
    found: dict[str, dict[str, list[float]]] = {}  # structure, patient, Dice of the scans
    for report in reports:
        for score in report.scores:
            patients = found.setdefault(score.structure, {})
            if not math.isnan(score.dice):
                patients.setdefault(report.group or report.case, []).append(score.dice)
    dice = {name: _mean([_mean(scans) for scans in rows.values()]) for name, rows in found.items()}
    known = [value for value in dice.values() if not math.isnan(value)]
    return FoldResult(fold=fold, cases=len(reports), dice=dice, mean_dice=_mean(known))


def _mean(values: Sequence[float]) -> float:
    """Return the mean; NaN of nothing."""
    return statistics.fmean(values) if values else math.nan
