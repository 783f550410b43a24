"""Bootstrap intervals of the mean or the median over cases, and quantiles between infinities."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

DRAWS = 10_000
SEED = 0
CONFIDENCE = 0.95

Values = NDArray[np.float64]
Statistic = Literal["mean", "median"]
Method = Literal["percentile", "bca"]


def bootstrap_interval(
    values: Values,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    method: Method = "percentile",
    statistic: Statistic = "mean",
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean or the median.

    Parameters
    ----------
    values : float64 ndarray of shape (n,)
        Independent values without NaN.
    draws : int
        Resamples with replacement.
    seed : int
        Seed of the resampling, so that a report can be repeated.
    method : {"percentile", "bca"}
        ``bca`` corrects for bias and skewness.
    statistic : {"mean", "median"}
        The median may be asked of values that hold infinities.

    Returns
    -------
    tuple of float
        Lower and upper end; NaN without a value.

    References
    ----------
    .. [1] Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 14.
    """
    if not values.size:
        return math.nan, math.nan
    picks = np.random.default_rng(seed).integers(0, values.size, (draws, values.size))
    found = _statistic(values[picks], statistic)
    tail = (1 - CONFIDENCE) / 2
    shares = (tail, 1 - tail)
    if method == "bca":
        shares = bca_shares(values, found, statistic)
    return quantile(found, shares[0]), quantile(found, shares[1])


def bca_shares(values: Values, draws: Values, statistic: Statistic = "mean") -> tuple[float, float]:
    """Return which quantiles of the bootstrap draws bound the BCa interval.

    Parameters
    ----------
    values : float64 ndarray of shape (n,)
    draws : float64 ndarray of shape (draws,)
        The statistic of each resample of the values.
    statistic : {"mean", "median"}

    Returns
    -------
    tuple of float
        2.5 % and 97.5 %, shifted; unshifted where the values leave nothing to correct by (all
        equal, one value, or infinities).

    References
    ----------
    .. [1] Efron and Tibshirani, An Introduction to the Bootstrap, 1993, equations 14.10 to 14.15.
    """
    tail = (1 - CONFIDENCE) / 2
    centre = float(_statistic(values, statistic))
    below = (np.count_nonzero(draws < centre) + np.count_nonzero(draws <= centre)) / (
        2 * len(draws)
    )
    bias = float(special.ndtri(below))
    if values.size < 2 or not np.isfinite(values).all() or not math.isfinite(bias):
        return tail, 1 - tail
    left_out = np.array([_statistic(np.delete(values, i), statistic) for i in range(values.size)])
    apart = left_out.mean() - left_out
    spread = float((apart**2).sum())
    if spread == 0:
        return tail, 1 - tail
    skew = float((apart**3).sum()) / (6 * spread**1.5)
    z = float(special.ndtri(tail))
    low, high = (
        float(special.ndtr(bias + (bias + end) / (1 - skew * (bias + end)))) for end in (z, -z)
    )
    return low, high


def quantile(values: Values, share: float) -> float:
    """Return a linearly interpolated quantile; unlike numpy's, also between infinities.

    Parameters
    ----------
    values : float64 ndarray of shape (n,)
        Without NaN; not empty. They may hold infinities of one sign or both.
    share : float
        In [0, 1].

    Examples
    --------
    >>> quantile(np.array([1.0, 2.0, np.inf, np.inf]), 0.5), quantile(np.array([1.0, 2.0]), 0.5)
    (inf, 1.5)
    """
    if np.isfinite(values).all():
        return float(np.percentile(values, 100 * share))
    ordered = np.sort(values)
    place = share * (len(ordered) - 1)
    low, high = float(ordered[math.floor(place)]), float(ordered[math.ceil(place)])
    if low == high or place == math.floor(place):
        return low
    if math.isinf(low) and math.isinf(high):
        return math.nan  # halfway between -inf and +inf
    return low + (place - math.floor(place)) * (high - low)


def _statistic(values: Values, statistic: Statistic) -> Values:
    """Return the mean or the median along the last axis."""
    found: Values = (np.mean if statistic == "mean" else np.median)(values, axis=-1)
    return found
