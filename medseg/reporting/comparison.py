"""Compare the scores of runs on the cases that all of them have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medseg.errors import ConfigError
from medseg.metrics.bootstrap import bootstrap_interval
from medseg.metrics.paired import PairedComparison, compare_together, patient_differences
from medseg.metrics.ranking import Better, Table, mean_ranks
from medseg.reporting.comparison_checks import (
    Missing,
    doubts_of_references,
    missing_cases,
    nothing_shared,
    nsd_tolerances,
    patients_of,
)
from medseg.reporting.score_table import Key, ScoreTable
from medseg.trained import Score


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A column of metrics.csv that can be compared."""

    title: str
    better: Better
    absolute: bool = False
    """Compare the size, not the sign: an error of -10 % is as bad as one of 10 %."""
    digits: int = 3


METRICS: dict[str, Metric] = {
    "dice": Metric(title="Dice", better="higher"),
    "iou": Metric(title="IoU", better="higher"),
    "nsd": Metric(title="NSD", better="higher"),
    "hd95_mm": Metric(title="HD95 (mm)", better="lower", digits=2),
    "hd95_px": Metric(title="HD95 (px)", better="lower", digits=2),
    "assd_mm": Metric(title="ASSD (mm)", better="lower", digits=2),
    "assd_px": Metric(title="ASSD (px)", better="lower", digits=2),
    "relative_volume_error": Metric(title="Rel. volume error", better="lower", absolute=True),
}
"""Columns that are compared, in this order."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one label, one run against the first; differences are ``second - first``."""

    first: str
    second: str
    label: str
    metric: str
    paired: PairedComparison
    mean_difference: float
    """NaN where a difference is infinite: the median then speaks."""
    mean_low: float
    mean_high: float
    wins: int
    """Patients (cases, where patients are not known) on which the second run is better."""
    losses: int
    ties: int
    values: Mapping[str, tuple[float, float]]
    """Case to the values of both."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that the comparison report says."""

    runs: tuple[str, ...]
    split: str
    cases: tuple[str, ...]
    """Cases that count."""
    patients: int | None
    """How many patients they are of; None where no run says it."""
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    """The one that decides comes first."""
    rows: tuple[Row, ...]
    ranks: Mapping[str, float]
    """Run to mean rank over all cases, labels and metrics; the best first."""
    metric_ranks: Mapping[str, Mapping[str, float]]
    """Metric to run to mean rank over its cases and labels."""
    missing: tuple[Missing, ...]
    warnings: tuple[str, ...]
    score: Score = "dice"
    """What chose the networks of the runs; of photographs the mIoU."""
    set_miou: Mapping[str, float] = field(default_factory=dict)
    """Run to the mIoU over all pixels of its set, where every run has one."""

    @property
    def tests(self) -> int:
        """Tests made together, which Holm's correction counts."""
        return sum(not math.isnan(row.paired.p) for row in self.rows)


def compare_tables(tables: Sequence[ScoreTable], split: str) -> Comparison:
    """Compare every run with the first, and rank them all.

    Parameters
    ----------
    tables : sequence of ScoreTable
        Two or more, with different names; each has ``split``.
    split : str
        Which cases.

    Raises
    ------
    ConfigError
        If no case and label is in all of them, or no metric.
    """
    scores = {table.name: table.splits[split] for table in tables}
    shared = [key for key in scores[tables[0].name] if all(key in one for one in scores.values())]
    if not shared:
        raise ConfigError(nothing_shared(scores, split))
    by_iou = all(table.score == "miou" for table in tables)
    metrics, warnings = _metrics(tables, first="iou" if by_iou else "dice")
    set_known = all(split in table.set_miou for table in tables)
    labels = tuple(dict.fromkeys(label for label, _ in shared))
    cells: dict[tuple[str, str], Table] = {}
    for label in labels:
        cases = [case for other, case in shared if other == label]
        tolerances = nsd_tolerances(one[label, case] for one in scores.values() for case in cases)
        for metric in metrics:
            if metric == "nsd" and len(tolerances) > 1:
                shown = ", ".join(f"{t:g}" for t in tolerances)
                warnings.append(f"{label}: NSD left out, its tolerance differs ({shown})")
                continue
            cells[label, metric] = _cell(scores, label, cases, metric)
    warnings += doubts_of_references(tables, scores, shared)
    kept = tuple(dict.fromkeys(case for _, case in shared))
    patients, doubts = patients_of(tables, kept)
    warnings += doubts
    ranked = {
        metric: [(cell, METRICS[m].better) for (_, m), cell in cells.items() if m == metric]
        for metric in metrics
    }
    return Comparison(
        runs=tuple(scores),
        split=split,
        cases=kept,
        patients=len({patients.get(c, f"case {c}") for c in kept}) if patients else None,
        labels=labels,
        metrics=metrics,
        rows=_rows(cells, tuple(scores), patients),
        ranks=mean_ranks([entry for entries in ranked.values() for entry in entries]),
        metric_ranks={metric: mean_ranks(entries) for metric, entries in ranked.items() if entries},
        missing=missing_cases(scores),
        warnings=tuple(warnings),
        score="miou" if by_iou else "dice",
        set_miou={t.name: t.set_miou[split] for t in tables} if set_known else {},
    )


def _rows(
    cells: Mapping[tuple[str, str], Table], runs: Sequence[str], patients: Mapping[str, str]
) -> tuple[Row, ...]:
    """Test every cell of every run against the first run, all under one correction."""
    wanted = [(run, label, metric) for run in runs[1:] for label, metric in cells]
    pairs = {
        str(i): (cells[label, metric][runs[0]], cells[label, metric][run])
        for i, (run, label, metric) in enumerate(wanted)
    }
    with np.errstate(invalid="ignore"):  # a median halfway between -inf and inf is not defined
        tested = compare_together(pairs, groups=patients)
    rows = []
    for i, (run, label, metric) in enumerate(wanted):
        first, second = pairs[str(i)]
        values = {case: (first[case], second[case]) for case in first}
        rows.append(_row(runs[0], run, label, metric, tested[str(i)], values, patients))
    return tuple(rows)


def _row(
    first: str,
    second: str,
    label: str,
    metric: str,
    paired: PairedComparison,
    values: Mapping[str, tuple[float, float]],
    patients: Mapping[str, str],
) -> Row:
    """Add to a test the mean difference and the count of patients that each run wins."""
    kept = {case: pair for case, pair in values.items() if not any(map(math.isnan, pair))}
    apart = patient_differences(kept, patients)
    finite = bool(apart.size) and bool(np.isfinite(apart).all())
    low, high = bootstrap_interval(apart) if finite else (math.nan, math.nan)
    up, down = int(np.count_nonzero(apart > 0)), int(np.count_nonzero(apart < 0))
    wins, losses = (up, down) if METRICS[metric].better == "higher" else (down, up)
    return Row(
        first=first,
        second=second,
        label=label,
        metric=metric,
        paired=paired,
        mean_difference=float(apart.mean()) if finite else math.nan,
        mean_low=low,
        mean_high=high,
        wins=wins,
        losses=losses,
        ties=apart.size - up - down,
        values=values,
    )


def _metrics(tables: Sequence[ScoreTable], first: str) -> tuple[tuple[str, ...], list[str]]:
    """Return the metrics that every run has, and a warning for those that some lack."""
    found, warnings = [], []
    for metric in sorted(METRICS, key=lambda name: name != first):  # the others keep their order
        lacking = [table.name for table in tables if metric not in table.columns]
        if not lacking:
            found.append(metric)
        elif len(lacking) < len(tables):
            warnings.append(f"{metric} left out: {', '.join(lacking)} has no such column")
    if not found:
        raise ConfigError(
            f"the runs share no metric; each metrics.csv should have one of {', '.join(METRICS)}"
        )
    return tuple(found), warnings


def _cell(
    scores: Mapping[str, Mapping[Key, Mapping[str, float]]],
    label: str,
    cases: Iterable[str],
    metric: str,
) -> Table:
    """Return run to (case to value) of one label and metric."""
    size = abs if METRICS[metric].absolute else float
    return {
        run: {case: size(rows[label, case][metric]) for case in cases}
        for run, rows in scores.items()
    }
