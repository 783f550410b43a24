"""From a clue to the Dice to expect: calibrated on cases with a reference, with its own error.

The model is a fractional logistic regression [1]_ of the Dice ``y`` on the clue ``x``,

    logit E(y) = a + b logit(x),  b >= 0,

fitted by Bernoulli quasi-likelihood: two numbers, so that ten cases suffice; rising in the clue
and inside (0, 1) whatever the clue; a Dice of 0 (a false alarm) is a value like any other. How good
it is, is told by leaving out each patient in turn. The interval comes from the ranks of the
left-out residuals on the logit scale (jackknife, a form of conformal prediction [2]_): there it is
as wide everywhere, so in Dice it is wider for middling estimates than near 1.

Beyond the clues of those cases the curve is a guess: an estimate there says so, and its interval
reaches from what the curve says to what the last case on that side would have had. On made-up CTs
with four times the noise that was said of 10 livers in 12; the curve had fallen 0.04 too far there
(``benchmarks/quality_estimate.py``).

The validation cases that it is calibrated on were predicted by networks that did not train on
them, but the checkpoint (the best step) and the post-processing were chosen on them: for new cases
both the estimate and its stated error are a little too good. Where several networks predict a new
case together, a validation case had one of them: the estimate is then, if anything, too low.

References
----------
.. [1] Papke and Wooldridge, see `medseg.metrics.fractional_regression`.
.. [2] Barber et al., Predictive inference with the jackknife+, Annals of Statistics 2021.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import rankdata

from medseg.expected import Calibration, Clue, Clues, ExpectedDice
from medseg.labels import LabelScheme
from medseg.metrics.fractional_regression import fit, logits

LEVEL = 0.8
"""Share of cases whose Dice the interval is to hold."""
FEWEST = 10
"""Patients below which nothing is calibrated; from 9 on, ranks reach the level on both sides."""
CHANCE = 1.645
"""Standard errors by which an estimate must beat the mean: one in 20 does by chance."""
PREFERENCE: tuple[Clue, ...] = ("flips", "probability")
"""Of two clues that foretold equally well, the first is taken."""
SHOWN = 0.005
"""Ends of an interval closer than this to 0 or 1, and so shown as that, are that: a structure that
was invented has a Dice of 0, which no logit reaches."""

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One structure of one case with a reference."""

    clues: Mapping[Clue, float]
    dice: float
    patient: str


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """A calibration, and what it says of its own cases when each is left out."""

    calibration: Calibration
    left_out: tuple[ExpectedDice, ...]
    """One per piece of evidence, in its order."""


def calibrate(structure: str, evidence: Sequence[Evidence]) -> Calibrated:
    """Learn the Dice to expect of one structure from its clues.

    Of the clues that all cases have, the one whose left-out estimates were closest is taken.

    Parameters
    ----------
    structure : str
    evidence : sequence of Evidence
        Cases in whose prediction the structure was found.

    Returns
    -------
    Calibrated
        Without a clue where there are fewer than `FEWEST` patients or no clue that all cases have;
        with a reason where the estimate did not beat guessing the mean by more than chance
        (`CHANCE` standard errors of the gain).
    """
    patients = [one.patient for one in evidence]
    count = len(set(patients))
    clues = [clue for clue in PREFERENCE if all(clue in one.clues for one in evidence)]
    if count < FEWEST or not clues:
        reason = (
            f"an estimate needs {FEWEST} validation cases or more with this structure, there "
            f"{'is' if count == 1 else 'are'} {count or 'none'}"
            if count < FEWEST
            else "the predictions of the validation cases left no clue"
        )
        bare = Calibration(structure=structure, cases=len(evidence), reason=reason)
        unknown = ExpectedDice(structure=structure, value=None, reason=reason)
        return Calibrated(calibration=bare, left_out=(unknown,) * len(evidence))
    dice = np.array([one.dice for one in evidence])
    tried = [
        _calibrate(structure, clue, np.array([one.clues[clue] for one in evidence]), dice, patients)
        for clue in clues
    ]
    return min(tried, key=lambda one: one.calibration.error)


def estimate(calibration: Calibration, clues: Mapping[Clue, float]) -> ExpectedDice:
    """Return the Dice to expect of a structure with these clues.

    Parameters
    ----------
    calibration : Calibration
    clues : mapping
        Of the structure in the prediction; none where it was not found.
    """
    name = calibration.structure
    if calibration.clue is None:
        return ExpectedDice(structure=name, value=None, reason=calibration.reason)
    if not clues:
        return ExpectedDice(structure=name, value=None, reason="it was not found")
    if calibration.clue not in clues:
        reason = "it was predicted in another way than the validation cases"
        return ExpectedDice(structure=name, value=None, reason=reason)
    position = float(logits(np.array(clues[calibration.clue])))
    return _expected(calibration, position)


def estimates(calibrations: Sequence[Calibration], clues: Clues) -> tuple[ExpectedDice, ...]:
    """Return the Dice to expect of every structure that is calibrated."""
    return tuple(estimate(one, clues.get(one.structure, {})) for one in calibrations)


def clues_left(clues: Clues, pred: NDArray[np.int16], scheme: LabelScheme) -> Clues:
    """Return the clues of the structures that post-processing left in a prediction.

    Parameters
    ----------
    clues : mapping
    pred : int16 ndarray of shape (*spatial)
        Class indices.
    scheme : LabelScheme
    """
    voxels = np.zeros(len(scheme.labels) + 1, dtype=np.int64)
    for plane in pred:  # one plane at a time is held in 64 bit
        voxels += np.bincount(plane.ravel(), minlength=len(voxels))
    left = {one.name for one in scheme.structures if voxels[list(one.indices)].any()}
    return {name: found for name, found in clues.items() if name in left}


def rank_correlation(first: Values, second: Values) -> float | None:
    """Return Spearman's coefficient, ties by mean ranks; None where one side is constant."""
    return correlation(rankdata(first), rankdata(second))


def correlation(first: Values, second: Values) -> float | None:
    """Return Pearson's coefficient; None for fewer than 3 pairs or where one side is constant."""
    if first.size < 3 or np.ptp(first) < 1e-12 or np.ptp(second) < 1e-12:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _calibrate(
    structure: str, clue: Clue, values: Values, dice: Values, patients: Sequence[str]
) -> Calibrated:
    """Calibrate one clue, and judge it with each patient left out."""
    position = logits(values)
    intercept, slope = fit(position, dice)
    predicted, means = np.empty_like(dice), np.empty_like(dice)
    owners = np.array(patients)
    for patient in dict.fromkeys(patients):
        own = owners == patient
        a, b = fit(position[~own], dice[~own])
        predicted[own] = a + b * position[own]
        means[own] = dice[~own].mean()
    answer = expit(predicted)
    error, error_of_mean = float(np.abs(dice - answer).mean()), float(np.abs(dice - means).mean())
    gains = np.abs(dice - means) - np.abs(dice - answer)
    scatter = float(gains.std(ddof=1)) / math.sqrt(len(set(patients)))
    beyond_chance = bool(gains.mean() > CHANCE * scatter)
    calibration = Calibration(
        structure=structure,
        cases=len(dice),
        clue=clue,
        intercept=intercept,
        slope=slope,
        residuals=tuple(np.sort(logits(dice) - predicted).tolist()),
        mean=float(dice.mean()),
        error=error,
        error_of_mean=error_of_mean,
        # flat: the left-out means fall as the Dice rises, which says nothing of the clue
        spearman=rank_correlation(answer, dice) if slope > 0 else None,
        lowest=float(values.min()),
        highest=float(values.max()),
        reason=""
        if beyond_chance
        else (
            f"on {len(dice)} validation cases the estimate was off by {error:.3f} on average, no "
            f"better (by more than chance) than guessing their mean Dice of {dice.mean():.3f}, "
            f"which was off by {error_of_mean:.3f}"
        ),
    )
    return Calibrated(
        calibration=calibration,
        left_out=tuple(
            _told(calibration, _interval(calibration, float(one)), calibration.reason)
            for one in predicted
        ),
    )


def _within(calibration: Calibration, position: float) -> float:
    """Return the nearest position at which the curve is believed."""
    if calibration.lowest is None or calibration.highest is None:
        return position  # a file of an earlier version does not say
    ends = logits(np.array([calibration.lowest, calibration.highest]))
    return float(np.clip(position, *ends))


def _expected(calibration: Calibration, position: float) -> ExpectedDice:
    """Return the estimate at a clue's position, and its interval.

    Beyond the calibrated clues the interval reaches from what the curve says to what the nearest
    clue would have had.
    """
    curve = (calibration.intercept, calibration.slope)
    value, low, high = _interval(calibration, curve[0] + curve[1] * position)
    within, reason = _within(calibration, position), calibration.reason
    if position != within:
        _, nearest_low, nearest_high = _interval(calibration, curve[0] + curve[1] * within)
        low, high = min(low, nearest_low), max(high, nearest_high)
        side = "less" if position < within else "more"
        reason = reason or (
            f"the network is {side} sure of it than of any of the {calibration.cases} validation "
            f"cases, so {value:.2f} is a guess; it may lie anywhere from {low:.2f} to {high:.2f}"
        )
    return _told(calibration, (value, low, high), reason)


def _told(
    calibration: Calibration, interval: tuple[float, float, float], reason: str
) -> ExpectedDice:
    """Return an estimate with its interval."""
    value, low, high = interval
    return ExpectedDice(
        structure=calibration.structure, value=value, low=low, high=high, reason=reason
    )


def _interval(calibration: Calibration, place: float) -> tuple[float, float, float]:
    """Return the Dice at a place of the logit scale, and the interval around it."""
    count = len(calibration.residuals)
    rank = math.floor((count + 1) * (1 - LEVEL) / 2 + 1e-9)
    low, high = calibration.residuals[rank - 1], calibration.residuals[count - rank]
    value, below, above = (float(expit(place + shift)) for shift in (0.0, low, high))
    below = 0.0 if below < SHOWN else min(below, value)
    return value, below, 1.0 if above > 1 - SHOWN else max(above, value)
