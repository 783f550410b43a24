from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import spearmanr

from medseg.labels import Label, LabelScheme, Region
from medseg.metrics.expected_dice import (
    FEWEST,
    Evidence,
    calibrate,
    clues_left,
    estimate,
    estimates,
)
from medseg.metrics.fractional_regression import EDGE, fit


def evidence_of(clues, dice, patients=None, clue="probability"):
    patients = patients or range(len(dice))
    return [
        Evidence(clues={clue: float(x)}, dice=float(y), patient=str(p))
        for x, y, p in zip(clues, dice, patients, strict=True)
    ]


def cohort(rng, count, noise=0.4):
    """Dice scattered around a curve of the clue, on the logit scale."""
    clues = rng.uniform(0.6, 0.98, count)
    return clues, expit(0.9 * logit(clues) - 0.3 + rng.normal(0, noise, count))


def fit_again(clues, dice):
    """The same fit by a general optimiser; the slope is free."""
    x, y = logit(clues), np.clip(dice, EDGE, 1 - EDGE)

    def unlikely(beta):
        eta = beta[0] + beta[1] * x
        return (np.logaddexp(0, eta) - y * eta).sum()

    return minimize(unlikely, [0.0, 1.0], tol=1e-12).x


def test_two_clues_are_fitted_through_the_means_of_their_dice():
    """Clues 1/2 and 4/5 (logits 0 and ln 4); mean Dice 1/2 and 0.8: the line through both."""
    clues = [0.5, 0.8] * 5
    dice = [0.4, 0.7, 0.6, 0.9, 0.5, 0.8, 0.45, 0.75, 0.55, 0.85]
    found = calibrate("liver", evidence_of(clues, dice)).calibration
    assert (found.intercept, found.slope) == pytest.approx((0.0, 1.0), abs=1e-6)
    assert estimate(found, {"probability": 0.5}).value == pytest.approx(0.5)
    assert estimate(found, {"probability": 0.8}).value == pytest.approx(0.8)
    left = [0.525, 0.475, 0.5, 0.5125, 0.4875, 0.825, 0.775, 0.8, 0.8125, 0.7875]  # of the other 4
    true = [0.4, 0.6, 0.5, 0.45, 0.55, 0.7, 0.9, 0.8, 0.75, 0.85]
    assert found.error == pytest.approx(np.abs(np.subtract(left, true)).mean(), abs=1e-6)
    means = [(sum(dice) - y) / 9 for y in dice]
    assert found.error_of_mean == pytest.approx(np.abs(np.subtract(means, dice)).mean())
    assert found.reason == ""


def test_the_interval_is_made_of_the_ranks_of_the_residuals():
    """Ten cases: the first and the last residual, added on the logit scale."""
    clues, dice = cohort(np.random.default_rng(1), 10)
    found = calibrate("liver", evidence_of(clues, dice)).calibration
    one = estimate(found, {"probability": 0.9})
    middle = found.intercept + found.slope * logit(0.9)
    assert one.low == pytest.approx(expit(middle + found.residuals[0]))
    assert one.high == pytest.approx(expit(middle + found.residuals[-1]))
    assert 0 < one.low < one.value < one.high < 1


@pytest.mark.parametrize("scans", [1, 2])
def test_left_out_numbers_are_those_of_an_independent_computation(scans):
    clues, dice = cohort(np.random.default_rng(2), 24)
    patients = [i // scans for i in range(24)]
    found = calibrate("liver", evidence_of(clues, dice, patients))
    answers = np.empty(24)
    for patient in set(patients):
        own = np.array(patients) == patient
        a, b = fit_again(clues[~own], dice[~own])
        answers[own] = expit(a + b * logit(clues[own]))
    assert [one.value for one in found.left_out] == pytest.approx(answers.tolist(), abs=1e-5)
    assert found.calibration.error == pytest.approx(np.abs(answers - dice).mean(), abs=1e-5)
    assert found.calibration.spearman == pytest.approx(spearmanr(answers, dice)[0], abs=1e-9)
    residuals = np.sort(logit(dice) - logit(answers))
    assert found.calibration.residuals == pytest.approx(residuals.tolist(), abs=1e-4)


def test_the_estimate_never_falls_with_the_clue():
    rng = np.random.default_rng(3)
    for _ in range(20):
        clues, dice = rng.uniform(0, 1, 15), rng.uniform(0, 1, 15).round()  # Dice 0 and 1 alone
        found = calibrate("liver", evidence_of(clues, dice)).calibration
        values = [estimate(found, {"probability": x}).value for x in np.linspace(0, 1, 21)]
        assert (np.diff(values) >= 0).all()
        assert 0 < values[0] <= values[-1] < 1


def test_a_clue_that_points_the_wrong_way_says_the_mean():
    x = np.linspace(-1, 1, 12)
    a, b = fit(x, expit(-x))
    assert (expit(a), b) == (pytest.approx(expit(-x).mean()), 0.0)
    found = calibrate("liver", evidence_of(expit(x), expit(-x))).calibration
    assert (found.slope, found.spearman) == (0.0, None), "not -1, as of the left-out means"
    assert "guessing their mean" in found.reason


def test_the_interval_covers_new_cases_at_its_rate():
    rng = np.random.default_rng(4)
    inside = tried = 0
    for _ in range(60):
        clues, dice = cohort(rng, 60, noise=0.6)
        found = calibrate("liver", evidence_of(clues[:30], dice[:30])).calibration
        for clue, true in zip(clues[30:], dice[30:], strict=True):
            one = estimate(found, {"probability": clue})
            inside += one.low <= true <= one.high
            tried += 1
    # ranks 3 and 28 of 30: 25 of 31 steps, 0.806; less what the fit's own scatter takes
    assert 0.77 < inside / tried < 0.84


def test_the_clue_that_foretells_better_is_taken_and_only_what_all_cases_have():
    rng = np.random.default_rng(5)
    clues, dice = cohort(rng, 20, noise=0.1)
    noise = rng.uniform(0.5, 0.9, 20)
    both = [
        Evidence(clues={"flips": float(n), "probability": float(x)}, dice=float(y), patient=str(i))
        for i, (n, x, y) in enumerate(zip(noise, clues, dice, strict=True))
    ]
    assert calibrate("liver", both).calibration.clue == "probability"
    assert calibrate("liver", evidence_of(clues, dice, clue="flips")).calibration.clue == "flips"
    mixed = evidence_of(clues[:10], dice[:10], clue="flips") + evidence_of(clues[10:], dice[10:])
    assert "no clue" in calibrate("liver", mixed).calibration.reason


@pytest.mark.parametrize("count", [0, 1, 2, FEWEST - 1])
def test_too_few_cases_are_refused_in_words(count):
    found = calibrate("liver", evidence_of([0.8] * count, [0.7] * count))
    assert found.calibration.clue is None
    assert f"needs {FEWEST} validation cases" in found.calibration.reason
    assert f"{'is' if count == 1 else 'are'} {count or 'none'}" in found.calibration.reason
    assert [one.value for one in found.left_out] == [None] * count
    assert estimate(found.calibration, {"probability": 0.9}).reason == found.calibration.reason


def test_many_scans_of_few_patients_are_too_few():
    clues, dice = cohort(np.random.default_rng(6), 30)
    found = calibrate("liver", evidence_of(clues, dice, [i % 3 for i in range(30)]))
    assert found.calibration.clue is None


@pytest.mark.parametrize("clues", [np.full(12, 0.8), np.linspace(0.6, 0.9, 12)])
def test_equal_dice_are_no_better_foretold_than_by_their_mean(clues):
    found = calibrate("liver", evidence_of(clues, [0.75] * 12)).calibration
    assert found.error == pytest.approx(0, abs=1e-6)
    assert found.spearman is None
    one = estimate(found, {"probability": 0.9})
    assert one.value == pytest.approx(0.75)
    assert "guessing their mean Dice of 0.750" in one.reason


def test_a_gain_over_the_mean_within_chance_is_not_shown_for_single_cases():
    rng = np.random.default_rng(8)
    clues, dice = cohort(rng, 20, noise=0.1)
    assert calibrate("liver", evidence_of(clues, dice)).calibration.reason == ""
    shown = 0
    for _ in range(40):  # clues that say nothing
        found = calibrate(
            "liver", evidence_of(rng.uniform(0.5, 0.9, 12), rng.uniform(0.7, 0.9, 12))
        )
        shown += not found.calibration.reason
    assert shown <= 5


def test_what_was_not_found_or_was_predicted_otherwise_is_not_assessable():
    clues, dice = cohort(np.random.default_rng(7), 20)
    found = calibrate("liver", evidence_of(clues, dice)).calibration
    (one,) = estimates([found], {})
    assert (one.value, one.reason) == (None, "it was not found")
    other = estimate(found, {"flips": 0.9})
    assert other.value is None
    assert "another way" in other.reason


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_clues_of_what_post_processing_removed_are_dropped(shape):
    labels = (Label(value=1, name="oedema"), Label(value=2, name="core"))
    clues = {"whole": {"flips": 0.9}, "core": {"flips": 0.5}}
    regions = (
        Region(name="whole", labels=("oedema", "core")),
        Region(name="core", labels=("core",)),
    )
    scheme = LabelScheme(labels=labels, regions=regions)
    pred = np.zeros(shape, np.int16)
    assert clues_left(clues, pred, scheme) == {}
    pred[1, 2] = 1
    assert clues_left(clues, pred, scheme) == {"whole": {"flips": 0.9}}
    pred[0, 0] = 2
    assert clues_left(clues, pred, scheme) == clues


def off_range(clue, slope=1.0):
    """Ten cases on the curve Dice = clue, clues from 0.7 to 0.9, and the estimate of another."""
    clues = np.linspace(0.7, 0.9, 10)
    dice = expit(slope * logit(clues) + 0.1 * (-1) ** np.arange(10))
    calibration = calibrate("liver", evidence_of(clues, dice)).calibration
    assert (calibration.lowest, calibration.highest) == (0.7, 0.9)
    return calibration, estimate(calibration, {"probability": clue})


@pytest.mark.parametrize(("clue", "side"), [(0.3, "less"), (0.99, "more")])
def test_beyond_the_calibrated_clues_the_estimate_says_that_it_guesses(clue, side):
    calibration, found = off_range(clue)
    assert f"the network is {side} sure of it than of any of the 10 validation" in found.reason
    assert found.value == pytest.approx(clue, abs=0.05)  # still the curve, to sort cases by
    nearest = estimate(calibration, {"probability": 0.7 if side == "less" else 0.9})
    assert nearest.reason == ""
    if side == "less":  # from what the curve says to what the last believed clue would have had
        assert found.high == pytest.approx(nearest.high)
        assert found.low < found.value < nearest.low
    else:
        assert found.low == pytest.approx(nearest.low)
        assert found.high > found.value > nearest.high


def test_a_calibration_that_does_not_know_its_range_is_believed():
    calibration, _ = off_range(0.8)
    old = replace(calibration, lowest=None, highest=None)
    assert estimate(old, {"probability": 0.3}).reason == ""


def test_an_invented_structure_lies_in_an_interval_that_is_shown_from_zero():
    """Two of ten tumours are inventions, Dice 0: the interval of the like reaches 0, not 0.0002."""
    clues, dice = np.linspace(0.2, 0.8, 10), np.linspace(0.3, 0.8, 10)
    dice[[0, 3]] = 0
    calibration = calibrate("tumour", evidence_of(clues, dice)).calibration
    found = estimate(calibration, {"probability": 0.4})
    assert found.low == 0
    assert 0 < found.value < found.high < 1
