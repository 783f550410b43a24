"""Tell a gain from chance where the best of several rules was picked on the same cases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Gains = NDArray[np.float64]

EXACT = 13
"""Up to this many cases all 2^n signs are tried, beyond it `DRAWS` random ones."""
DRAWS = 9_999
SEED = 0
CHUNK = 1_024


def best_of_many_p(gains: Gains) -> NDArray[np.float64]:
    """Test for each of several rules that its mean gain is above zero, one-sided.

    Where a rule does nothing but chance, the gain of a case is as likely negative as positive. So
    the signs of the cases are flipped (all rules of a case together, which keeps how they hang
    together), and a rule is held against the best of all rules under each flip: the more rules are
    tried, the more is asked of each. The statistic is sum(g) / sqrt(sum(g^2)), so that one rule
    with wild gains does not hide the others.

    Parameters
    ----------
    gains : float64 ndarray of shape (n, rules)
        Dice with the rule minus Dice without it, one row per independent case.

    Returns
    -------
    float64 ndarray of shape (rules,)
        p, corrected for the number of rules: the chance that any of them looks this good. It holds
        for the one picked as for all. 1 for a rule that changes nothing.

    References
    ----------
    .. [1] Westfall and Young, Resampling-based multiple testing, 1993, section 2.3 (single step).

    Examples
    --------
    >>> best_of_many_p(np.full((6, 1), 0.01)).tolist()  # 1 of 2^6 signs is as good
    [0.015625]
    """
    moved = gains[(gains != 0).any(axis=1)]
    if not len(moved):
        return np.ones(gains.shape[1])
    norm = np.sqrt((moved**2).sum(axis=0))
    scaled = np.divide(moved, norm, out=np.zeros_like(moved), where=norm > 0)
    found = scaled.sum(axis=0)
    signs = _signs(len(moved))
    as_good = np.zeros(gains.shape[1])
    for start in range(0, len(signs), CHUNK):
        best = (signs[start : start + CHUNK] @ scaled).max(axis=1)  # (flips,)
        as_good += (best[:, None] >= found - 1e-9).sum(axis=0)
    p: NDArray[np.float64] = np.where(norm > 0, as_good / len(signs), 1.0)
    return p


def _signs(n: int) -> NDArray[np.float64]:
    """Return (flips, n) signs, the first row all positive."""
    if n <= EXACT:
        bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        drawn = np.random.default_rng(SEED).integers(0, 2, (DRAWS, n))
        bits = np.vstack([np.zeros((1, n), dtype=np.int64), drawn])
    return np.asarray(1.0 - 2.0 * bits, dtype=np.float64)
