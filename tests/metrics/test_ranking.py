import math

import pytest

from medseg.metrics.ranking import case_ranks, mean_ranks

DICE = {
    "a": {"1": 0.9, "2": 0.8, "3": 0.0},
    "b": {"1": 0.7, "2": 0.8, "3": 0.5},
    "c": {"1": 0.6, "2": 0.7, "3": 0.4},
}


def test_ranks_by_hand():
    ranks = case_ranks(DICE, better="higher")
    assert ranks["a"] == {"1": 1, "2": 1.5, "3": 3}
    assert ranks["b"] == {"1": 2, "2": 1.5, "3": 1}
    assert ranks["c"] == {"1": 3, "2": 3, "3": 2}


def test_for_distances_the_small_one_wins_and_infinity_loses():
    ranks = case_ranks({"a": {"1": math.inf}, "b": {"1": 2.0}, "c": {"1": 9.0}}, better="lower")
    assert {name: found["1"] for name, found in ranks.items()} == {"a": 3, "b": 1, "c": 2}


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_undefined_ranks_last_and_a_case_without_any_value_counts_nowhere(better):
    table = {"a": {"1": math.nan, "2": math.nan}, "b": {"1": 0.1, "2": math.nan}}
    assert case_ranks(table, better=better) == {"a": {"1": 2}, "b": {"1": 1}}


def test_the_mean_rank_is_over_cases_and_metrics_best_first():
    hd95 = {"a": {"1": 9.0}, "b": {"1": 2.0}, "c": {"1": 5.0}}
    found = mean_ranks([(DICE, "higher"), (hd95, "lower")])
    assert found == pytest.approx({"b": 5.5 / 4, "a": 8.5 / 4, "c": 10 / 4})
    assert list(found) == ["b", "a", "c"]


def test_methods_on_different_cases_are_refused():
    with pytest.raises(ValueError, match="b has no value for 2"):
        case_ranks({"a": {"1": 1.0, "2": 1.0}, "b": {"1": 1.0}}, better="higher")


def test_nothing_to_rank():
    found = mean_ranks([({"a": {"1": math.nan}}, "lower")])
    assert math.isnan(found["a"])
