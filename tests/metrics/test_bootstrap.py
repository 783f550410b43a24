import math

import numpy as np
import pytest
from scipy import stats

from medseg.metrics.bootstrap import bca_shares, bootstrap_interval, quantile

A = np.array([0.91, 0.88, 0.75, 0.93, 0.60, 0.85, 0.79, 0.90])
B = np.array([0.90, 0.90, 0.81, 0.94, 0.72, 0.86, 0.83, 0.92])
FIRST = {f"case{i}": value for i, value in enumerate(A.tolist())}
SECOND = {f"case{i}": value for i, value in enumerate(B.tolist())}


def test_the_percentile_interval_worked_in_the_reference():
    assert (B - A).mean() == pytest.approx(0.03375, abs=1e-12)
    assert bootstrap_interval(B - A) == pytest.approx((0.01125, 0.06375), abs=1e-12)


def test_the_bca_interval_worked_in_the_reference():
    # the reference's numbers come from scipy's old generator, RandomState(0)
    picks = np.random.RandomState(0).randint(0, 8, (9999, 8))
    draws = (B - A)[picks].mean(axis=1)
    low, high = (quantile(draws, share) for share in bca_shares(B - A, draws))
    assert (low, high) == pytest.approx((0.01375, 0.0725), abs=1e-12)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_bca_agrees_with_scipy_on_the_same_resamples(statistic):
    values = np.random.default_rng(3).lognormal(size=15)
    function = {"mean": np.mean, "median": np.median}[statistic]
    found = stats.bootstrap((values,), function, method="BCa", n_resamples=9999, rng=0)
    expected = (found.confidence_interval.low, found.confidence_interval.high)
    ours = bootstrap_interval(values, draws=9999, method="bca", statistic=statistic)
    assert ours == pytest.approx(expected, abs=1e-9)
    if statistic == "mean":
        assert ours != bootstrap_interval(values, draws=9999, statistic=statistic)


def test_intervals_of_values_that_leave_nothing_to_resample():
    for method in ("percentile", "bca"):
        assert bootstrap_interval(np.full(5, 0.7), method=method) == pytest.approx((0.7, 0.7))
        assert bootstrap_interval(np.array([0.7]), method=method) == pytest.approx((0.7, 0.7))
        assert all(math.isnan(end) for end in bootstrap_interval(np.array([]), method=method))


def test_a_quantile_between_infinities():
    assert quantile(np.array([1.0, math.inf, 2.0, 3.0]), 0.5) == 2.5
    assert quantile(np.array([1.0, math.inf, math.inf]), 0.75) == math.inf
    assert quantile(np.array([1.0, math.inf]), 0.5) == math.inf
    assert math.isnan(quantile(np.array([-math.inf, math.inf]), 0.5))
    values = np.random.default_rng(0).normal(size=9)
    assert quantile(values, 0.3) == np.percentile(values, 30)
