"""From metrics of cases to statements about a method: mean, spread, interval, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.metrics.case import STATUSES, Status, StructureScore

SUMMARISED = (
    "dice",
    "iou",
    "precision",
    "recall",
    "hd_mm",
    "hd95_mm",
    "assd_mm",
    "nsd",
    "volume_error_ml",
    "relative_volume_error",
)
"""Fields of `StructureScore` that are summarised over cases."""

DRAWS = 10_000
SEED = 0


@dataclass(frozen=True, kw_only=True)
class ScoredCase:
    """The scores of one case."""

    case: str
    group: str | None
    """Patient; the scans of one patient are averaged before anything else."""
    scores: tuple[StructureScore, ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One metric of one structure over the cases."""

    n: int
    """Independent values: patients where groups are known, else cases; NaN does not count."""
    mean: float
    sd: float
    """Sample standard deviation (n - 1); NaN for one value."""
    median: float
    q1: float
    q3: float
    low: float
    """Lower end of the 95 % bootstrap interval of the mean; NaN for one value."""
    high: float
    penalised: int
    """Infinite distances that were counted as the image diagonal."""


@dataclass(frozen=True, kw_only=True)
class StructureSummary:
    """All metrics of one structure over the cases."""

    structure: str
    cases: int
    counts: Mapping[Status, int]
    """Cases of each status; always to be shown beside a mean."""
    metrics: Mapping[str, Summary]


def aggregate(cases: Sequence[ScoredCase]) -> list[StructureSummary]:
    """Summarise each structure over the cases that score it.

    Infinite distances (a structure missed or invented) count as the diagonal of their image; NaN
    (nothing to measure) is left out and shows in ``n`` and ``counts``.

    Parameters
    ----------
    cases : sequence of ScoredCase
        Cases of one split.
    """
    names = dict.fromkeys(score.structure for case in cases for score in case.scores)
    return [_summarise_structure(name, cases) for name in names]


def mean_over_structures(summaries: Sequence[StructureSummary]) -> dict[str, float]:
    """Average each metric's mean over the structures, unweighted; NaN means are left out."""
    means = {}
    for metric in SUMMARISED:
        values = np.array([summary.metrics[metric].mean for summary in summaries])
        values = values[~np.isnan(values)]
        means[metric] = float(values.mean()) if values.size else float("nan")
    return means


def summarise(
    values: Sequence[float],
    *,
    penalties: Sequence[float] | None = None,
    groups: Sequence[str] | None = None,
) -> Summary:
    """Summarise one metric over cases.

    Parameters
    ----------
    values : sequence of float
        One value per case; NaN is left out.
    penalties : sequence of float, optional
        What an infinite value of each case counts as (the image diagonal).
    groups : sequence of str, optional
        Patient of each case; cases of one patient are averaged first. None: one case each.
    """
    array = np.asarray(values, dtype=np.float64)
    infinite = np.isinf(array)
    if penalties is not None:
        array = np.where(infinite, np.asarray(penalties, dtype=np.float64), array)
    array = _group_means(array, groups) if groups is not None else array[~np.isnan(array)]
    nan = float("nan")
    if not array.size:
        return Summary(
            n=0, mean=nan, sd=nan, median=nan, q1=nan, q3=nan, low=nan, high=nan, penalised=0
        )
    low, high = bootstrap_interval(array) if array.size > 1 else (nan, nan)
    q1, median, q3 = np.percentile(array, (25, 50, 75))
    return Summary(
        n=array.size,
        mean=float(array.mean()),
        sd=float(array.std(ddof=1)) if array.size > 1 else nan,
        median=float(median),
        q1=float(q1),
        q3=float(q3),
        low=low,
        high=high,
        penalised=int(infinite.sum()) if penalties is not None else 0,
    )


def bootstrap_interval(
    values: NDArray[np.float64], *, draws: int = DRAWS, seed: int = SEED
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean.

    Parameters
    ----------
    values : float64 ndarray of shape (n,)
        Independent values without NaN.
    draws : int
        Resamples with replacement.
    seed : int
        Seed of the resampling, so that a report can be repeated.

    References
    ----------
    .. [1] Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    picks = np.random.default_rng(seed).integers(0, values.size, (draws, values.size))
    low, high = np.percentile(values[picks].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def _summarise_structure(name: str, cases: Sequence[ScoredCase]) -> StructureSummary:
    """Summarise one structure."""
    found = [(c, s) for c in cases for s in c.scores if s.structure == name]
    groups = [f"group {c.group}" if c.group else f"case {c.case}" for c, _ in found]
    diagonals = [score.diagonal_mm for _, score in found]
    return StructureSummary(
        structure=name,
        cases=len(found),
        counts={status: sum(s.status == status for _, s in found) for status in STATUSES},
        metrics={
            metric: summarise(
                [getattr(score, metric) for _, score in found],
                penalties=diagonals,
                groups=groups,
            )
            for metric in SUMMARISED
        },
    )


def _group_means(values: NDArray[np.float64], groups: Sequence[str]) -> NDArray[np.float64]:
    """Average the values of each group; groups of NaN alone are left out."""
    members: dict[str, list[float]] = {}
    for group, value in zip(groups, values.tolist(), strict=True):
        if not np.isnan(value):
            members.setdefault(group, []).append(value)
    return np.array([float(np.mean(m)) for m in members.values()], dtype=np.float64)
