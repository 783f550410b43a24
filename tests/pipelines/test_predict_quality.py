"""The expected Dice in the log: once per model in full, per case a figure."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from medseg.expected import Calibration
from medseg.labels import Label, LabelScheme
from medseg.pipelines.predict_quality import expect, tell_of_calibration

SCHEME = LabelScheme(labels=tuple(Label(value=i, name=n) for i, n in enumerate("abc", start=1)))
A = Calibration(
    structure="a", cases=33, clue="flips", slope=1.0,
    residuals=tuple(n / 100 for n in range(-16, 17)),
    error=0.02, error_of_mean=0.034, lowest=0.5, highest=0.99,
)  # fmt: skip
B = Calibration(structure="b", cases=3, reason="an estimate needs 10 validation cases")
KNOWN = (A, B, replace(A, structure="c"))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6)])
def test_a_case_takes_one_line(caplog, shape):
    caplog.set_level(logging.INFO)
    pred = np.zeros(shape, np.int16)
    pred[0, :3] = 1
    pred[1] = 2
    found = expect("x", {"a": {"flips": 0.9}, "b": {"flips": 0.8}}, pred, SCHEME, KNOWN)
    assert [one.structure for one in found] == ["a", "b", "c"]
    (line,) = caplog.messages
    # a slope of 1 through 0: the Dice is the clue; c was not found; of b there is never an estimate
    assert line.startswith("case x: expected Dice: a 0.90 (0.8")
    assert line.endswith("c not assessable")
    assert "b " not in line


def test_a_model_says_once_how_good_its_estimates_are(caplog):
    caplog.set_level(logging.INFO)
    tell_of_calibration(KNOWN[:2])
    assert caplog.messages == [
        "expected Dice of a: off by 0.020 on average on 33 validation cases (guessing their mean: "
        "0.034); in brackets stands the 80 % interval",
        "expected Dice of b: not assessable: an estimate needs 10 validation cases",
    ]
