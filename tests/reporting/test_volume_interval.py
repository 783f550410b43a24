import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from medseg.reporting.volume_interval import case_intervals, volume_errors, volume_interval
from tests.reporting.examples import label_map, report


def coverage(draw, n, rounds=3000):
    """Share of simulated cohorts whose interval covers the true volume of a new case."""
    hits = 0
    for _ in range(rounds):
        errors = draw(n + 1)
        truth = 100.0
        found = volume_interval(truth * math.exp(errors[0]), errors[1:])
        hits += found.low_ml <= truth <= found.high_ml
    return hits / rounds


def test_few_normal_errors_are_covered_at_the_stated_rate():
    rng = np.random.default_rng(0)
    rate = coverage(lambda n: rng.normal(0.05, 0.1, n), 8)
    assert rate == pytest.approx(0.95, abs=0.012)  # three standard errors of 3000 rounds


def test_many_skewed_errors_are_covered_without_normality():
    rng = np.random.default_rng(1)
    rate = coverage(lambda n: rng.exponential(0.1, n), 60)
    assert 0.938 <= rate <= 0.985  # at least 1 - 2 * floor(61 / 40) / 61 = 0.967 in the mean


def test_by_hand_from_five_cases():
    errors = [-0.2, -0.1, 0.0, 0.1, 0.2]
    half = stats.t.ppf(0.975, 4) * math.sqrt(0.025) * math.sqrt(1.2)
    found = volume_interval(50.0, errors)
    assert found.low_ml == pytest.approx(50 * math.exp(-half))
    assert found.high_ml == pytest.approx(50 * math.exp(half))
    assert "if volume errors are normal" in found.method


def test_by_hand_from_ranks():
    """Of 39 errors the outermost two are the limits; predictions too large shrink the interval."""
    errors = np.log(np.linspace(1.0, 2.0, 39))
    found = volume_interval(80.0, list(errors))
    assert found.low_ml == pytest.approx(40.0)
    assert found.high_ml == pytest.approx(80.0)
    assert "ranks" in found.method


def test_without_enough_cases_the_reason_stands_in_its_place():
    found = volume_interval(50.0, [0.1] * 4)
    assert found.low_ml is found.high_ml is None
    assert "there are 4" in found.method


def test_of_nothing_there_is_no_interval():
    assert volume_interval(0.0, [0.1] * 9).method == "not assessable: the structure was not found"


def test_a_case_is_not_judged_by_its_own_error(tmp_path):
    label = label_map()
    reports = []
    for i in range(7):
        pred = label.copy()
        pred[4, 4 : 4 + i] = 0
        made = report(tmp_path, f"c{i}", pred, label, role="validation")
        reports.append(replace(made, group="twin" if i < 2 else None))
    errors = volume_errors(reports)
    assert set(errors["liver"]) == {"twin", "c2", "c3", "c4", "c5", "c6"}
    assert errors["liver"]["twin"] == pytest.approx(
        np.mean([math.log(r.scores[0].volume_ml / r.scores[0].reference_volume_ml)
                 for r in reports[:2]])
    )  # fmt: skip
    assert case_intervals(reports[0], errors)["liver"].cases == 5
    assert volume_errors([replace(reports[0], role="test")]) == {}


def test_missed_structures_do_not_count(tmp_path):
    label = label_map()
    missed = np.where(label == 2, 1, label).astype(np.int16)
    assert "tumour" not in volume_errors([report(tmp_path, "m", missed, label, role="validation")])
