"""Where a case stands among the others: what is normal for this data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.reporting.case_report import CaseReport

RANKED = (("dice", True), ("nsd", True), ("hd95_mm", False), ("relative_volume_error", False))
"""Metrics that are ranked, and whether more is better; volume errors count without their sign."""
FEWEST = 5
"""Other cases below which a percentile means nothing."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One metric of one structure of a case, beside those of the other cases of its kind."""

    structure: str
    metric: str
    value: float
    cases: int
    """Other cases in which the metric is defined."""
    better_than: float | None
    """Percent of the other cases that are worse, ties by half; None with fewer than `FEWEST`."""
    median: float
    """Of the other cases."""
    q1: float
    q3: float


def standings(report: CaseReport, reports: Sequence[CaseReport]) -> tuple[Standing, ...]:
    """Rank a case among the others of its role (test or validation).

    Parameters
    ----------
    report : CaseReport
        Without scores there is nothing to rank.
    reports : sequence of CaseReport
        All cases; an infinite distance counts as the worst, NaN is left out.
    """
    others = [r for r in reports if r.role == report.role and r.case != report.case]
    found = []
    for score in report.scores:
        for metric, more_is_better in RANKED:
            value = _value(score, metric)
            if math.isnan(value):
                continue
            every = [_value(s, metric) for r in others for s in r.scores
                     if s.structure == score.structure]  # fmt: skip
            known = np.array([v for v in every if not math.isnan(v)], dtype=np.float64)
            found.append(
                Standing(
                    structure=score.structure,
                    metric=metric,
                    value=value,
                    cases=known.size,
                    better_than=_better_than(value, known, more_is_better=more_is_better),
                    **_quartiles(known),
                )
            )
    return tuple(found)


def _value(score: object, metric: str) -> float:
    """Return a metric, volume errors without their sign."""
    value = float(getattr(score, metric))
    return abs(value) if metric == "relative_volume_error" else value


def _better_than(value: float, others: np.ndarray, *, more_is_better: bool) -> float | None:
    """Return the percentage of values that are worse, ties by half."""
    if others.size < FEWEST:
        return None
    worse = np.count_nonzero(others < value if more_is_better else others > value)
    return float(100 * (worse + 0.5 * np.count_nonzero(others == value)) / others.size)


def _quartiles(values: np.ndarray) -> dict[str, float]:
    """Return median and quartiles, NaN of nothing; infinite ones stand among the values."""
    if not values.size:
        return dict.fromkeys(("median", "q1", "q3"), math.nan)
    points = np.quantile(values, (0.25, 0.5, 0.75), method="nearest")
    return {"q1": float(points[0]), "median": float(points[1]), "q3": float(points[2])}
