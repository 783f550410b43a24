"""From metrics of cases to statements about a method: mean, spread, interval, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.metrics.bootstrap import Method, bootstrap_interval, quantile
from medseg.metrics.case import STATUSES, Status, StructureScore
from medseg.metrics.overlap import BothEmpty

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

OVERLAPS = ("dice", "iou", "precision", "recall", "nsd", "boundary_iou", "cldice")
DISTANCES = ("hd_mm", "hd95_mm", "assd_mm", "masd_mm")
"""Fields that two empty masks set to 1 and to 0 where they count as perfect."""

Infinite = Literal["penalty", "median", "exclude"]
"""What an infinite distance counts as. ``penalty``: the diagonal of its image. ``median``: it
stays infinite and is the worst value; the median and the quartiles speak, with an interval of the
median. ``exclude``: it is left out and counted."""


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
    excluded: int = 0
    """Infinite distances that were left out."""


@dataclass(frozen=True, kw_only=True)
class StructureSummary:
    """All metrics of one structure over the cases."""

    structure: str
    cases: int
    counts: Mapping[Status, int]
    """Cases of each status; always to be shown beside a mean."""
    metrics: Mapping[str, Summary]
    pooled_dice: float = float("nan")
    """Dice of all cases taken as one volume; large structures weigh more."""


def aggregate(
    cases: Sequence[ScoredCase],
    *,
    both_empty: BothEmpty = "nan",
    infinite: Infinite = "penalty",
    method: Method = "percentile",
) -> list[StructureSummary]:
    """Summarise each structure over the cases that score it.

    Infinite distances (a structure missed or invented) count as the diagonal of their image; NaN
    (nothing to measure) is left out and shows in ``n`` and ``counts``.

    Parameters
    ----------
    cases : sequence of ScoredCase
        Cases of one split.
    both_empty : {"nan", "perfect"}
        What a structure in neither mask counts as, see `with_empty_rule`.
    infinite : {"penalty", "median", "exclude"}
        What infinite distances count as.
    method : {"percentile", "bca"}
        Of the bootstrap interval.
    """
    ruled = [
        replace(case, scores=tuple(with_empty_rule(s, both_empty) for s in case.scores))
        for case in cases
    ]
    names = dict.fromkeys(score.structure for case in ruled for score in case.scores)
    return [_summarise_structure(name, ruled, infinite, method) for name in names]


def with_empty_rule(score: StructureScore, both_empty: BothEmpty) -> StructureScore:
    """Apply the rule for empty masks to a score.

    Parameters
    ----------
    score : StructureScore
    both_empty : {"nan", "perfect"}
        ``nan`` changes nothing: a structure in neither mask has no value. ``perfect`` gives it
        overlap 1 and distance 0 (the code of MetricsReloaded) and a missed one precision 0.
    """
    if both_empty == "nan" or score.status not in ("both_empty", "missed"):
        return score
    if score.status == "missed":
        return replace(score, precision=0.0)
    values = dict.fromkeys(OVERLAPS, 1.0) | dict.fromkeys(DISTANCES, 0.0)
    known = {name: value for name, value in values.items() if hasattr(score, name)}
    return replace(score, **known)  # type: ignore[arg-type]


def pooled_dice(scores: Sequence[StructureScore]) -> float:
    """Return the Dice of one structure over all cases as one volume; NaN where all are empty."""
    sizes = np.array([s.volume_ml + s.reference_volume_ml for s in scores])
    dices = np.array([s.dice for s in scores])
    full = sizes > 0
    return float((dices[full] * sizes[full]).sum() / sizes[full].sum()) if full.any() else np.nan


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
    infinite: Infinite = "penalty",
    method: Method = "percentile",
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
    infinite : {"penalty", "median", "exclude"}
        What infinite values count as; ``penalty`` needs the penalties.
    method : {"percentile", "bca"}
        Of the bootstrap interval.
    """
    array = np.asarray(values, dtype=np.float64)
    endless = np.isinf(array)
    penalised = excluded = 0
    if infinite == "exclude":
        array, excluded = np.where(endless, np.nan, array), int(endless.sum())
    elif infinite == "penalty" and penalties is not None:
        penalised = int(endless.sum())
        array = np.where(endless, np.asarray(penalties, dtype=np.float64), array)
    array = _group_means(array, groups) if groups is not None else array[~np.isnan(array)]
    nan = float("nan")
    low = high = nan
    if array.size > 1:
        statistic: Literal["mean", "median"] = "median" if infinite == "median" else "mean"
        low, high = bootstrap_interval(array, method=method, statistic=statistic)
    spread = array.size > 1 and bool(np.isfinite(array).all())
    q1, median, q3 = (quantile(array, q) if array.size else nan for q in (0.25, 0.5, 0.75))
    return Summary(
        n=array.size,
        mean=float(array.mean()) if array.size else nan,
        sd=float(array.std(ddof=1)) if spread else nan,
        median=median,
        q1=q1,
        q3=q3,
        low=low,
        high=high,
        penalised=penalised,
        excluded=excluded,
    )


def _summarise_structure(
    name: str, cases: Sequence[ScoredCase], infinite: Infinite, method: Method
) -> StructureSummary:
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
                infinite=infinite,
                method=method,
            )
            for metric in SUMMARISED
        },
        pooled_dice=pooled_dice([score for _, score in found]),
    )


def _group_means(values: NDArray[np.float64], groups: Sequence[str]) -> NDArray[np.float64]:
    """Average the values of each group; groups of NaN alone are left out."""
    members: dict[str, list[float]] = {}
    for group, value in zip(groups, values.tolist(), strict=True):
        if not np.isnan(value):
            members.setdefault(group, []).append(value)
    return np.array([float(np.mean(m)) for m in members.values()], dtype=np.float64)
