"""Two methods on the same cases: Wilcoxon's test, an interval, correction for many tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from medseg.metrics.bootstrap import DRAWS, SEED, Values, bootstrap_interval, quantile

SMALLEST_N = 6
"""Fewer untied pairs cannot reach p < .05: five give 2 / 2^5 = .0625 at best."""


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """One metric of two methods on the same cases; differences are second minus first."""

    n: int
    """Pairs compared (patients, where groups were given)."""
    median_difference: float
    low: float
    """Lower end of the 95 % bootstrap interval of the median difference."""
    high: float
    statistic: float
    """Wilcoxon's W: the smaller of the two signed rank sums."""
    p: float
    """Two-sided; 1 where no pair differs, NaN without a pair."""
    p_holm: float
    """After Holm's correction over the comparisons made together; `p` for one alone."""
    dropped: tuple[str, ...]
    """Cases where one side is NaN."""
    only_first: tuple[str, ...]
    """Cases that the second method lacks."""
    only_second: tuple[str, ...]
    note: str
    """What a reader must know: too few pairs, pairs left out; empty if nothing."""


def wilcoxon(differences: Values) -> tuple[float, float]:
    """Test whether paired differences are centred on zero, two-sided.

    Parameters
    ----------
    differences : float64 ndarray of shape (n,)
        Without NaN; an infinite one ranks as the largest. Zeros are left out (Wilcoxon's rule).

    Returns
    -------
    tuple of float
        W, the smaller of the two signed rank sums, and p: exact for small samples, see
        `scipy.stats.wilcoxon`. Without an untied pair 0 and 1; NaN without a pair.

    References
    ----------
    .. [1] Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1945.
    """
    if not differences.size:
        return math.nan, math.nan
    apart = differences[differences != 0]
    if not apart.size:
        return 0.0, 1.0
    ranks = np.sign(apart) * stats.rankdata(np.abs(apart))  # finite, and the same test
    found = stats.wilcoxon(ranks)
    return float(found.statistic), float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for having made several tests.

    Parameters
    ----------
    p_values : sequence of float
        NaN stays NaN and does not count as a test.

    Returns
    -------
    list of float
        Adjusted p-values in the order given, at most 1.

    References
    ----------
    .. [1] Holm, A simple sequentially rejective multiple test procedure, Scand. J. Stat. 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = list(p_values)
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[i] = largest
    return adjusted


def compare_paired(
    first: Mapping[str, float],
    second: Mapping[str, float],
    *,
    groups: Mapping[str, str] | None = None,
    draws: int = DRAWS,
    seed: int = SEED,
) -> PairedComparison:
    """Compare one metric of two methods over the cases that both have.

    Parameters
    ----------
    first, second : mapping of str to float
        Case id to value. A pair with NaN on either side is dropped and listed. An infinite
        distance is worse than every finite one; two of them are a tie.
    groups : mapping of str to str, optional
        Patient of each case: the differences of one patient are averaged first.
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    PairedComparison
        The effect is the median of the differences (second minus first).
    """
    shared = [case for case in first if case in second]
    dropped = tuple(c for c in shared if math.isnan(first[c]) or math.isnan(second[c]))
    kept = [case for case in shared if case not in set(dropped)]
    means = patient_differences({case: (first[case], second[case]) for case in kept}, groups)
    statistic, p = wilcoxon(means)
    low, high = bootstrap_interval(means, draws=draws, seed=seed, statistic="median")
    only_first = tuple(case for case in first if case not in second)
    only_second = tuple(case for case in second if case not in first)
    return PairedComparison(
        n=means.size,
        median_difference=quantile(means, 0.5) if means.size else math.nan,
        low=low,
        high=high,
        statistic=statistic,
        p=p,
        p_holm=p,
        dropped=dropped,
        only_first=only_first,
        only_second=only_second,
        note=_note(means, len(dropped), len(only_first) + len(only_second)),
    )


def patient_differences(
    pairs: Mapping[str, tuple[float, float]], groups: Mapping[str, str] | None = None
) -> Values:
    """Return second minus first, one value a patient.

    Parameters
    ----------
    pairs : mapping of str to (float, float)
        Case id to the values of both methods; no NaN. Two equal infinities are a tie.
    groups : mapping of str to str, optional
        Patient of each case: the differences of one patient are averaged. A case without an entry
        is a patient of its own.

    Returns
    -------
    float64 ndarray of shape (patients,)
        In the order of the patients' first cases.
    """
    members: dict[str, list[float]] = {}
    for case, (first, second) in pairs.items():
        difference = 0.0 if first == second else second - first
        patient = f"group {groups[case]}" if groups and groups.get(case) else f"case {case}"
        members.setdefault(patient, []).append(difference)
    return np.array([_mean(values) for values in members.values()], dtype=np.float64)


def compare_together(
    pairs: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]],
    *,
    groups: Mapping[str, str] | None = None,
) -> dict[str, PairedComparison]:
    """Compare several metrics or structures at once, with Holm's correction over all of them.

    Parameters
    ----------
    pairs : mapping of str to (first, second)
        Name of each comparison (such as ``liver/dice``) to what `compare_paired` takes.
    groups : mapping of str to str, optional
    """
    found = {name: compare_paired(a, b, groups=groups) for name, (a, b) in pairs.items()}
    adjusted = holm([one.p for one in found.values()])
    return {
        name: replace(one, p_holm=p) for (name, one), p in zip(found.items(), adjusted, strict=True)
    }


def _mean(values: Sequence[float]) -> float:
    """Average differences; one missed and one invented scan cancel out."""
    infinite = [v for v in values if math.isinf(v)]
    if not infinite:
        return float(np.mean(values))
    return 0.0 if len(set(infinite)) > 1 else infinite[0]


def _note(differences: Values, dropped: int, unpaired: int) -> str:
    """Say what a reader of the p-value must know."""
    parts = []
    untied = int(np.count_nonzero(differences))
    if untied < SMALLEST_N:
        parts.append(f"{untied} untied pair(s): fewer than {SMALLEST_N} cannot reach p < .05")
    if dropped:
        parts.append(f"{dropped} pair(s) dropped, one side is not defined")
    if unpaired:
        parts.append(f"{unpaired} case(s) have no partner")
    return "; ".join(parts)
