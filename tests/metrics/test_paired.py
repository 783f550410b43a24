import math

import numpy as np
import pytest
from scipy import stats

from medseg.metrics.paired import compare_paired, compare_together, holm, wilcoxon

A = np.array([0.91, 0.88, 0.75, 0.93, 0.60, 0.85, 0.79, 0.90])
B = np.array([0.90, 0.90, 0.81, 0.94, 0.72, 0.86, 0.83, 0.92])
FIRST = {f"case{i}": value for i, value in enumerate(A.tolist())}
SECOND = {f"case{i}": value for i, value in enumerate(B.tolist())}


def test_the_wilcoxon_test_worked_in_the_reference():
    assert wilcoxon(B - A) == (2.5, 0.03125)


def test_the_wilcoxon_test_agrees_with_scipy():
    rng = np.random.default_rng(0)
    for n in (6, 20, 80):
        values = rng.normal(0.3, 1, n)
        expected = stats.wilcoxon(values)
        assert wilcoxon(values) == pytest.approx((expected.statistic, expected.pvalue))


def test_an_infinite_difference_ranks_as_the_largest():
    rest = [-0.1, 0.2, -0.3, 0.4, 0.5]
    assert wilcoxon(np.array([*rest, math.inf])) == wilcoxon(np.array([*rest, 99.0]))
    assert wilcoxon(np.array([*rest, -math.inf])) == wilcoxon(np.array([*rest, -99.0]))
    assert wilcoxon(np.array([*rest, -99.0])) != wilcoxon(np.array([*rest, 99.0]))


def test_no_pair_and_no_difference():
    assert all(math.isnan(value) for value in wilcoxon(np.array([])))
    assert wilcoxon(np.zeros(8)) == (0.0, 1.0)


def test_holm_by_hand():
    # .005 x 4; .01 x 3; .03 x 2; .04 x 1 is smaller and takes the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_does_not_count_what_could_not_be_tested():
    found = holm([0.02, math.nan, 0.04])
    assert found[::2] == pytest.approx([0.04, 0.04])
    assert math.isnan(found[1])


def test_the_comparison_worked_in_the_reference():
    found = compare_paired(FIRST, SECOND)
    assert (found.n, found.statistic, found.p) == (8, 2.5, 0.03125)
    assert found.median_difference == pytest.approx(0.02)
    assert found.low < found.median_difference <= found.high
    assert (found.dropped, found.only_first, found.only_second, found.note) == ((), (), (), "")
    other = compare_paired(SECOND, FIRST)
    assert other.median_difference == pytest.approx(-0.02)
    assert other.p == found.p


def test_missing_cases_and_nan_are_listed_and_counted():
    first = FIRST | {"extra": 0.5, "nan": math.nan}
    second = SECOND | {"nan": 0.3, "new": 0.1}
    found = compare_paired(first, second)
    assert found.n == 8
    assert (found.only_first, found.only_second, found.dropped) == (("extra",), ("new",), ("nan",))
    assert "1 pair(s) dropped" in found.note
    assert "2 case(s) have no partner" in found.note


def test_fewer_than_six_pairs_are_said_to_be_too_few():
    cases = [f"case{i}" for i in range(5)]
    found = compare_paired(dict.fromkeys(cases, 0.0), {c: i + 1.0 for i, c in enumerate(cases)})
    assert found.p == 0.0625  # the smallest that five pairs can give
    assert "fewer than 6 cannot reach p < .05" in found.note
    six = compare_paired({str(i): 0.0 for i in range(6)}, {str(i): i + 1.0 for i in range(6)})
    assert (six.p, six.note) == (0.03125, "")


def test_a_missed_structure_is_the_worst_distance():
    first = {str(i): 2.0 for i in range(7)}
    second = {str(i): 1.0 - i / 10 for i in range(6)} | {"6": math.inf}
    found = compare_paired(first, second)
    assert found.median_difference == pytest.approx(-1.2)
    assert found.statistic == 7.0  # the missed one has the largest rank of seven
    both = compare_paired({"a": math.inf}, {"a": math.inf})
    assert (both.median_difference, both.p) == (0.0, 1.0)


def test_scans_of_one_patient_count_once():
    groups = dict.fromkeys(list(FIRST)[:3], "p")
    found = compare_paired(FIRST, SECOND, groups=groups)
    assert found.n == 6
    two = compare_paired({"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 3.0}, groups={"a": "p", "b": "p"})
    assert (two.n, two.median_difference) == (1, 2.0)


def test_comparisons_made_together_are_corrected_together():
    same = {case: value + 0.001 for case, value in FIRST.items()}
    found = compare_together({"dice": (FIRST, SECOND), "nsd": (FIRST, same), "x": ({}, {})})
    assert found["dice"].p == 0.03125
    assert found["nsd"].p == 0.0078125
    assert found["nsd"].p_holm == 2 * 0.0078125  # "x" has no pair and is no test
    assert found["dice"].p_holm == 0.03125
    assert math.isnan(found["x"].p_holm)
