"""Rank methods case by case, as challenges do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Better = Literal["higher", "lower"]
Table = Mapping[str, Mapping[str, float]]
"""Method to (case to value)."""


def case_ranks(table: Table, *, better: Better) -> dict[str, dict[str, float]]:
    """Rank the methods on each case: 1 is the best, ties share their mean rank.

    Parameters
    ----------
    table : mapping of str to (mapping of str to float)
        Method to (case to value). NaN ranks last, as does the worst infinity. A case that is NaN
        for every method is left out: there was nothing to measure.
    better : {"higher", "lower"}
        ``higher`` for Dice, ``lower`` for distances.

    Returns
    -------
    dict of str to (dict of str to float)
        Method to (case to rank).

    Raises
    ------
    ValueError
        If the methods were not scored on the same cases; the message names what is missing.
    """
    methods = list(table)
    cases = dict.fromkeys(case for values in table.values() for case in values)
    for method in methods:
        missing = [case for case in cases if case not in table[method]]
        if missing:
            raise ValueError(f"{method} has no value for {', '.join(missing)}; rank equal cases")
    ranks: dict[str, dict[str, float]] = {method: {} for method in methods}
    for case in cases:
        found = [table[method][case] for method in methods]
        if all(math.isnan(value) for value in found):
            continue
        for method, rank in zip(methods, _ranks(found, better).tolist(), strict=True):
            ranks[method][case] = rank
    return ranks


def mean_ranks(metrics: Sequence[tuple[Table, Better]]) -> dict[str, float]:
    """Average each method's ranks over all cases and metrics.

    Parameters
    ----------
    metrics : sequence of (table, better)
        One entry per metric (and structure), each as `case_ranks` takes it.

    Returns
    -------
    dict of str to float
        Method to mean rank, best first; NaN where there was nothing to rank.

    References
    ----------
    .. [1] Bakas et al., Identifying the best machine learning algorithms for brain tumor
       segmentation (BraTS), 2018, section on ranking: rank per case and metric, then the mean.
    """
    collected: dict[str, list[float]] = {}
    for table, better in metrics:
        for method, ranks in case_ranks(table, better=better).items():
            collected.setdefault(method, []).extend(ranks.values())
    means = {m: float(np.mean(r)) if r else math.nan for m, r in collected.items()}
    return dict(sorted(means.items(), key=lambda entry: (math.isnan(entry[1]), entry[1])))


def _ranks(values: Sequence[float], better: Better) -> NDArray[np.float64]:
    """Rank values of one case; what is not defined shares the last place."""
    array = np.asarray(values, dtype=np.float64)
    cost = -array if better == "higher" else array
    ranks: NDArray[np.float64] = stats.rankdata(np.where(np.isnan(cost), np.inf, cost))
    return ranks
