"""Fractional logistic regression: a curve in [0, 1] that never falls, from two numbers.

References
----------
.. [1] Papke and Wooldridge, Econometric methods for fractional response variables, Journal of
   Applied Econometrics 1996.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

EDGE = 1e-4
"""Clues and Dice closer than this to 0 or 1 count as if this far away: their logit is finite."""
STEPS, TOLERANCE = 50, 1e-9
"""Of Newton's method, on standardised positions."""

Values = NDArray[np.float64]


def fit(position: Values, dice: Values) -> tuple[float, float]:
    """Fit ``logit E(dice) = a + b position`` by Bernoulli quasi-likelihood [1]_, ``b >= 0``.

    Parameters
    ----------
    position : float64 ndarray of shape (n,)
        Logits of the clues.
    dice : float64 ndarray of shape (n,)
        In [0, 1].

    Returns
    -------
    tuple of float
        ``a`` and ``b``; where a falling line would fit best, or all positions are equal, the
        logit of the mean Dice and 0.

    Examples
    --------
    >>> a, b = fit(np.array([0.0, 0.0, 2.0, 2.0]), np.array([0.4, 0.6, 0.7, 0.9]))
    >>> round(a, 6), round(b, 6)  # through the means: logit(0.5) and logit(0.8) = ln 4
    (0.0, 0.693147)
    """
    y = np.clip(dice, EDGE, 1 - EDGE)
    flat = (float(logit(y.mean())), 0.0)
    centre, spread = float(position.mean()), float(position.std())
    if spread < 1e-9:
        return flat
    z = (position - centre) / spread
    beta = np.array([flat[0], 0.0])
    design = np.stack([np.ones_like(z), z])
    for _ in range(STEPS):
        mu = expit(beta @ design)
        hessian = (design * (mu * (1 - mu))) @ design.T
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), design @ (y - mu))
        if np.abs(step).max() < TOLERANCE:
            break
        before = _likelihood(beta @ design, y)
        while _likelihood((beta + step) @ design, y) < before - TOLERANCE:
            step /= 2  # the likelihood is concave: a shorter step rises
        beta = beta + step
    if beta[1] <= 0:
        return flat
    slope = float(beta[1]) / spread
    return float(beta[0]) - slope * centre, slope


def logits(values: Values) -> Values:
    """Return ``ln(v / (1 - v))``, finite: values are kept `EDGE` away from 0 and 1."""
    found: Values = logit(np.clip(values, EDGE, 1 - EDGE))
    return found


def _likelihood(eta: Values, y: Values) -> float:
    """Return the Bernoulli quasi-log-likelihood of logits."""
    return float((y * eta - np.logaddexp(0, eta)).sum())
