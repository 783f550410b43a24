import math

import numpy as np
import pytest

from medseg.geometry.volume import Grid
from medseg.labels import Label, LabelScheme
from medseg.metrics.aggregate import (
    ScoredCase,
    aggregate,
    mean_over_structures,
    summarise,
    with_empty_rule,
)
from medseg.metrics.bootstrap import bootstrap_interval
from medseg.metrics.case import score_case

A = np.array([0.91, 0.88, 0.75, 0.93, 0.60, 0.85, 0.79, 0.90])
B = np.array([0.90, 0.90, 0.81, 0.94, 0.72, 0.86, 0.83, 0.92])
SCHEME = LabelScheme(labels=(Label(value=1, name="a"), Label(value=2, name="b")))


def scored(name, pred, label, group=None):
    grid = Grid.of(pred.shape, np.eye(pred.ndim + 1))
    return ScoredCase(case=name, group=group, scores=tuple(score_case(pred, label, grid, SCHEME)))


def three_cases():
    label = np.zeros((4, 3), dtype=np.int16)
    label[1, 1] = 1
    shifted, nothing = np.roll(label, 1, axis=0), np.zeros_like(label)
    return [
        scored("good", label, label),
        scored("shifted", shifted, label),
        scored("missed", nothing, label),
    ]


def test_the_interval_worked_in_the_reference():
    low, high = bootstrap_interval(B - A)
    assert (B - A).mean() == pytest.approx(0.03375)
    assert (low, high) == pytest.approx((0.01125, 0.06375), abs=1e-12)


def test_the_interval_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    found = stats.bootstrap((A,), np.mean, method="percentile", n_resamples=9999, rng=0)
    expected = (found.confidence_interval.low, found.confidence_interval.high)
    assert bootstrap_interval(A) == pytest.approx(expected, abs=0.003)


def test_a_summary_by_hand():
    summary = summarise([1.0, 2.0, math.nan, 3.0, 6.0])
    assert (summary.n, summary.mean, summary.median) == (4, 3.0, 2.5)
    assert summary.sd == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3))
    assert (summary.q1, summary.q3) == (1.75, 3.75)
    assert 1.0 <= summary.low < summary.mean < summary.high <= 6.0


def test_an_infinite_distance_counts_as_the_diagonal_of_its_image():
    summary = summarise([1.0, math.inf], penalties=[10.0, 5.0])
    assert (summary.mean, summary.penalised) == (3.0, 1)


def test_scans_of_one_patient_are_averaged_first():
    summary = summarise([0.0, 1.0, 0.9], groups=["p", "p", "q"])
    assert (summary.n, summary.mean) == (2, pytest.approx(0.7))


def test_one_value_has_no_spread_and_none_has_no_mean():
    one, none = summarise([0.5]), summarise([math.nan])
    assert (one.n, one.mean) == (1, 0.5)
    assert math.isnan(one.sd)
    assert math.isnan(one.low)
    assert none.n == 0
    assert math.isnan(none.mean)


def test_counts_stand_beside_the_means():
    a, b = aggregate(three_cases())
    assert a.structure == "a"
    assert a.counts == {"ok": 2, "both_empty": 0, "missed": 1, "false_alarm": 0}
    assert b.counts == {"ok": 0, "both_empty": 3, "missed": 0, "false_alarm": 0}
    assert a.metrics["dice"].mean == pytest.approx(1 / 3)
    assert a.metrics["hd95_mm"].mean == pytest.approx((0 + 1 + 5) / 3)  # diagonal of 4 x 3
    assert a.metrics["hd95_mm"].penalised == 1
    assert b.metrics["dice"].n == 0


def test_a_run_of_missed_cases_is_never_a_perfect_distance():
    missed = [case for case in three_cases() if case.case == "missed"]
    assert aggregate(missed)[0].metrics["hd95_mm"].mean == 5.0


def test_the_mean_over_structures_is_of_their_means():
    means = mean_over_structures(aggregate(three_cases()))
    assert means["dice"] == pytest.approx(1 / 3)  # b has nothing to measure
    assert math.isnan(mean_over_structures([])["dice"])


def test_groups_reach_the_summary():
    label = np.ones((3, 3), dtype=np.int16)
    cases = [scored("x1", label, label, "x"), scored("x2", label * 0, label, "x")]
    assert aggregate(cases)[0].metrics["dice"].n == 1
    assert aggregate(cases)[0].metrics["dice"].mean == 0.5


def test_the_spread_of_no_cases_is_empty():
    assert aggregate([]) == []


def statuses():
    """One case of each status for structure a."""
    here, nothing = np.zeros((2, 4, 3), dtype=np.int16)
    here[1, 1] = 1
    pairs = {
        "ok": (here, here),
        "both_empty": (nothing, nothing),
        "missed": (nothing, here),
        "false_alarm": (here, nothing),
    }
    return {name: scored(name, *pair) for name, pair in pairs.items()}


OVERLAPS, LENGTHS = ("dice", "iou", "nsd"), ("hd_mm", "hd95_mm", "assd_mm")


@pytest.mark.parametrize("rule", ["nan", "perfect"])
@pytest.mark.parametrize("status", ["ok", "both_empty", "missed", "false_alarm"])
def test_every_row_of_the_empty_mask_table(status, rule):
    empty = (1.0, 0.0) if rule == "perfect" else (math.nan, math.nan)
    overlap, length = {
        "ok": (1.0, 0.0),
        "both_empty": empty,
        "missed": (0.0, math.inf),
        "false_alarm": (0.0, math.inf),
    }[status]
    precision = {
        "ok": 1.0,
        "both_empty": empty[0],
        "missed": 0.0 if rule == "perfect" else math.nan,
        "false_alarm": 0.0,
    }[status]
    recall = {"ok": 1.0, "both_empty": empty[0], "missed": 0.0, "false_alarm": math.nan}[status]
    score = with_empty_rule(statuses()[status].scores[0], rule)
    assert score.status == status  # the status is stored whatever the value
    for name in OVERLAPS:
        assert getattr(score, name) == pytest.approx(overlap, nan_ok=True), name
    for name in LENGTHS:
        assert getattr(score, name) == pytest.approx(length, nan_ok=True), name
    assert score.precision == pytest.approx(precision, nan_ok=True)
    assert score.recall == pytest.approx(recall, nan_ok=True)


def test_both_empty_as_perfect_enters_the_mean():
    cases = [statuses()[name] for name in ("missed", "both_empty")]
    plain, perfect = aggregate(cases)[0], aggregate(cases, both_empty="perfect")[0]
    assert (plain.metrics["dice"].n, plain.metrics["dice"].mean) == (1, 0.0)
    assert (perfect.metrics["dice"].n, perfect.metrics["dice"].mean) == (2, 0.5)
    assert perfect.metrics["hd95_mm"].mean == 2.5  # (0 + diagonal 5) / 2
    assert plain.counts == perfect.counts


@pytest.mark.parametrize(
    ("rule", "mean", "median", "n", "excluded"),
    [
        ("penalty", (1 + 0 + 5) / 3, 1.0, 3, 0),
        ("median", math.inf, 1.0, 3, 0),
        ("exclude", 0.5, 0.5, 2, 1),
    ],
)
def test_what_infinite_distances_count_as(rule, mean, median, n, excluded):
    summary = aggregate(three_cases(), infinite=rule)[0]
    found = summary.metrics["hd95_mm"]
    assert (found.mean, found.median, found.n) == (pytest.approx(mean), median, n)
    assert (found.excluded, found.penalised) == (excluded, int(rule == "penalty"))
    assert summary.counts["missed"] == 1
    assert math.isnan(found.sd) == (rule == "median")


def test_missed_cases_alone_are_never_perfect_under_any_rule():
    missed = [case for case in three_cases() if case.case == "missed"]
    for rule, expected in (("penalty", 5.0), ("median", math.inf), ("exclude", math.nan)):
        found = aggregate(missed * 2, infinite=rule)[0]
        assert found.metrics["hd95_mm"].mean == pytest.approx(expected, nan_ok=True)
        assert found.counts["missed"] == 2


def test_the_interval_may_be_bca():
    values = (B - A).tolist()
    plain, corrected = summarise(values), summarise(values, method="bca")
    assert (plain.low, plain.high) == pytest.approx((0.01125, 0.06375), abs=1e-12)
    assert corrected.low > plain.low
    assert corrected.high > plain.high


def test_pooled_dice_weighs_by_size():
    small, large, nothing = np.zeros((3, 10, 10), dtype=np.int16)
    small[0, 0] = 1
    large[:9] = 1
    cases = [scored("hit", large, large), scored("missed", nothing, small)]
    found = aggregate(cases)[0]
    assert found.metrics["dice"].mean == 0.5
    assert found.pooled_dice == pytest.approx(180 / 181)
    assert math.isnan(aggregate([scored("none", nothing, nothing)])[0].pooled_dice)


def test_structures_are_averaged_after_cases_not_before():
    first, second = np.zeros((2, 4, 3), dtype=np.int16)
    first[0, 0], first[1, 1], second[1, 1] = 1, 2, 2
    half = np.where(first == 1, 0, first).astype(np.int16)
    cases = [scored("1", half, first), scored("2", second, second)]
    # a: 0; b: 1 and 1. Structures first, within each case, would give (.5 + 1) / 2
    assert mean_over_structures(aggregate(cases))["dice"] == pytest.approx((0 + 1) / 2)
