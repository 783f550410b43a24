from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from medseg.postprocess.chance import EXACT, best_of_many_p


def test_by_hand():
    """Gains 1, 2, 3: of the 8 signs only +++ sums to 6, so p is 1/8; -3 is as bad as it gets."""
    gains = np.array([[1.0, -1.0], [2.0, -2.0], [3.0, -3.0]])
    assert best_of_many_p(gains[:, :1]).tolist() == [1 / 8]
    both = best_of_many_p(gains)  # the second rule is the first mirrored: +++ and --- are as good
    assert both.tolist() == [2 / 8, 1.0]


def test_one_rule_is_the_permutation_test_of_scipy():
    rng = np.random.default_rng(0)
    gains = rng.normal(0.3, 1, 9)
    found = stats.permutation_test(
        (gains,), np.sum, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    assert best_of_many_p(gains[:, None])[0] == pytest.approx(found.pvalue)


def test_random_signs_agree_with_all_signs():
    rng = np.random.default_rng(1)
    gains = rng.normal(0.35, 1, (EXACT + 2, 3))
    signs = np.array(list(itertools.product([1.0, -1.0], repeat=len(gains))))
    scaled = gains / np.sqrt((gains**2).sum(axis=0))
    best = (signs @ scaled).max(axis=1)
    exact = [(best >= value - 1e-9).mean() for value in scaled.sum(axis=0)]
    np.testing.assert_allclose(best_of_many_p(gains), exact, atol=0.02)


def test_cases_and_rules_without_effect_change_nothing():
    gains = np.random.default_rng(2).normal(0.5, 1, (7, 2))
    padded = np.zeros((20, 3))
    padded[3:10, :2] = gains
    assert best_of_many_p(padded).tolist() == [*best_of_many_p(gains), 1.0]
    assert best_of_many_p(np.zeros((4, 2))).tolist() == [1.0, 1.0]


def test_a_wild_rule_does_not_hide_a_steady_one():
    rng = np.random.default_rng(3)
    steady, wild = np.full(10, 0.01), rng.choice([-0.9, 0.9], 10)
    assert best_of_many_p(np.stack([steady, wild], axis=1))[0] < 0.01


@pytest.mark.parametrize("n", [8, 30])
def test_of_many_rules_of_chance_the_best_is_seldom_taken_for_real(n):
    """20 rules that hang together; the best looks real in at most 1 of 20 data sets."""
    rng = np.random.default_rng(4)
    trials = 200
    hits = 0
    for _ in range(trials):
        shared = rng.normal(size=(n, 1))
        gains = 0.7 * shared + rng.normal(size=(n, 20)) * rng.exponential(size=20)
        hits += bool((best_of_many_p(gains) <= 0.05).any())
    assert hits <= stats.binom.ppf(0.999, trials, 0.05)
    assert hits > 0  # a test that never rejects would say nothing
