from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from medseg.errors import ConfigError
from medseg.expected import Calibration, ExpectedDice
from medseg.reporting.background import Background
from medseg.reporting.case_context import case_contexts, lone_context
from medseg.reporting.case_page import render_case_page
from medseg.reporting.cohort_page import Cohort, render_cohort_page
from medseg.reporting.quality import (
    check_estimates,
    estimate_sentences,
    read_quality,
    write_quality,
)
from medseg.reporting.scan_checks import TrainingScans
from medseg.reporting.tables import summaries_by_role, write_case_json
from medseg.reporting.write import PageOptions, ReportInput, write_report
from tests.reporting.examples import about, check_page, info, label_map, report

LIVER = Calibration(
    structure="liver",
    cases=33,
    clue="flips",
    intercept=0.5,
    slope=0.75,
    residuals=(-0.2, 0.0, 0.4),
    mean=0.9,
    error=0.02,
    error_of_mean=0.034,
    spearman=0.61,
)
TUMOUR = Calibration(structure="tumour", cases=3, reason="an estimate needs 10 validation cases")
UNSURE = replace(LIVER, reason="on 33 validation cases it was no better than the mean")
EXPECTED = ExpectedDice(structure="liver", value=0.93, low=0.88, high=0.96)
UNKNOWN = ExpectedDice(structure="tumour", value=None, reason=TUMOUR.reason)


def of(value, low=0.0, high=1.0):
    return (ExpectedDice(structure="liver", value=value, low=low, high=high), UNKNOWN)


def cases(tmp_path, shape=(16, 14, 10)):
    """Test cases with liver Dice 1 and 2/3 (one of two halves missed), and one without truth."""
    label = label_map(shape)
    full = np.where(label > 0, 1, 0).astype(np.int16)
    half = full.copy()
    half[: shape[0] // 2] = 0
    return [
        replace(report(tmp_path, "one", full, full), expected=of(0.9, 0.8, 0.95)),
        replace(report(tmp_path, "two", half, full), expected=of(0.7, 0.6, 0.8)),
        replace(report(tmp_path, "new", full, None, role="predict"), expected=(EXPECTED, UNKNOWN)),
    ]


def test_what_was_written_into_the_model_folder_is_read_back(tmp_path):
    assert read_quality(tmp_path) == ()
    file = write_quality(tmp_path, (LIVER, TUMOUR))
    assert json.loads(file.read_text())["calibrations"][0]["spearman"] == 0.61
    assert read_quality(tmp_path) == (LIVER, TUMOUR)
    for broken in ("{", "[]", '{"calibrations": [{"structure": 3}]}'):
        file.write_text(broken)
        with pytest.raises(ConfigError, match=r"quality\.json: .*; copy the model"):
            read_quality(tmp_path)


def test_the_sentence_says_the_estimate_its_error_and_how_good_it_was():
    assert estimate_sentences([EXPECTED, UNKNOWN], (LIVER, TUMOUR)) == (
        "Expected Dice of liver: 0.93 (80 % interval 0.88 to 0.96), judged from how much mirrored "
        "predictions disagree; on 33 validation cases this estimate was off by 0.020 on average "
        "(guessing their mean: 0.034; Spearman 0.61).",
        "Expected Dice of tumour: not assessable: an estimate needs 10 validation cases.",
    )
    (one,) = estimate_sentences([EXPECTED], (LIVER,), {"liver": 0.912})
    assert one.endswith(" The reference gives 0.912.")
    (one,) = estimate_sentences([replace(EXPECTED, reason=UNSURE.reason)], (UNSURE,))
    assert "not assessable: on 33" in one
    assert "0.93" not in one


@pytest.mark.parametrize("shape", [(16, 14), (16, 14, 10)])
def test_estimates_are_compared_with_the_truth_by_hand(tmp_path, shape):
    """Off by 0.1 and |0.7 - 2/3|; the mean 0.9 is off by 0.1 and 0.9 - 2/3; one covers its Dice."""
    (found,) = check_estimates(cases(tmp_path, shape), (LIVER, TUMOUR), "test")
    assert (found.cases, found.covered) == (2, 1)
    assert found.error == pytest.approx((0.1 + 0.7 - 2 / 3) / 2)
    assert found.error_of_mean == pytest.approx((0.1 + 0.9 - 2 / 3) / 2)
    assert found.pearson is None  # of two cases
    (none,) = check_estimates(cases(tmp_path, shape), (LIVER,), "validation")
    assert (none.cases, none.error) == (0, None)


def test_correlations_are_those_of_the_pairs(tmp_path):
    made = cases(tmp_path)[:2]
    third = replace(made[1], case="three", expected=of(0.8))
    (found,) = check_estimates([*made, third], (LIVER,), "test")
    value, dice = [0.9, 0.7, 0.8], [1, 2 / 3, 2 / 3]
    assert found.pearson == pytest.approx(np.corrcoef(value, dice)[0, 1])
    assert found.spearman == pytest.approx(np.corrcoef([3, 1, 2], [3, 1.5, 1.5])[0, 1])


def cohort_of(reports, calibrations):
    return Cohort(
        reports=tuple(reports),
        summaries=summaries_by_role(reports),
        usual={},
        set_aside=(),
        decisions=(),
        rules=(),
        histories={},
        calibrations=calibrations,
    )


def test_the_cohort_page_prints_correlation_and_error_and_draws_them(tmp_path):
    made = cases(tmp_path)
    made.append(replace(made[1], case="three", expected=of(0.8)))
    page = check_page(render_cohort_page(cohort_of(made, (LIVER, TUMOUR)), about()))
    assert "Expected Dice, judged without the reference" in page.words
    for words in ("0.87", "0.089 (0.189)", "2 of 3", "an estimate needs 10 validation cases"):
        assert words in page.words, words
    alts = [attrs["alt"] for attrs in page.of("img")]
    assert any("liver, 3 cases: off by 0.089 on average, Spearman 0.87" in alt for alt in alts)
    without = check_page(render_cohort_page(cohort_of(made, ()), about()))
    assert "Expected Dice" not in without.words


def test_a_case_shows_its_estimate_beside_the_truth_or_instead_of_it(tmp_path):
    made = cases(tmp_path)
    contexts = case_contexts(made, {}, None, "CT", (LIVER, TUMOUR))
    pages = {
        r.case: check_page(render_case_page(r, tmp_path / r.case, about(), contexts[r.case]))
        for r in made
    }
    assert "Judged without the reference" in pages["two"].words
    assert "The reference gives 0.667." in pages["two"].words
    assert "Expected Dice of liver: 0.93 (80 % interval 0.88 to 0.96)" in pages["new"].words
    assert "The reference gives" not in pages["new"].words
    old = case_contexts(made, {}, None, "CT")["new"]
    page = check_page(render_case_page(made[2], tmp_path / "new", about(), old))
    assert "not assessable, because this model has no calibrated estimate" in page.words


def test_a_scan_unlike_those_of_training_makes_the_estimate_doubtful(tmp_path):
    """The training scans had voxels of 1 x 2 x 1 mm; these are 4 mm thick."""
    made = cases(tmp_path)
    training = TrainingScans(
        orientations=("RAS",), spacing_low=(1.0, 2.0, 1.0), spacing_high=(1.0, 2.0, 1.0),
        tilt_degrees=0.0, intensity=None,
    )  # fmt: skip
    found = case_contexts(made, {}, training, "CT", (LIVER, TUMOUR))["new"].estimate
    assert found[0].startswith("This scan is unlike those of training (voxel spacing). No")
    assert found[1].startswith("Expected Dice of liver: 0.93")
    alike = replace(training, spacing_low=(1.0, 2.0, 4.0), spacing_high=(1.0, 2.0, 4.0))
    sentences = case_contexts(made, {}, alike, "CT", (LIVER, TUMOUR))["new"].estimate
    assert sentences == found[1:]
    unknown = [replace(made[2], expected=(UNKNOWN,))]  # nothing is promised, nothing is doubted
    assert len(case_contexts(unknown, {}, training, "CT", (LIVER, TUMOUR))["new"].estimate) == 1


def test_a_case_alone_has_the_estimate_of_its_model(tmp_path):
    made = cases(tmp_path)[2]
    context = lone_context(made, Background(), "CT", (LIVER, TUMOUR))
    assert context.estimate[0].startswith("Expected Dice of liver: 0.93")
    write_case_json(tmp_path / "new.json", made, info(), context)
    written = json.loads((tmp_path / "new.json").read_text())
    assert written["expected_dice"][0]["value"] == 0.93
    assert written["estimate"] == list(context.estimate)


def test_the_summary_has_the_comparison(tmp_path):
    made = cases(tmp_path)
    inputs = {r.case: ReportInput(folder=tmp_path / r.case, identifiers={}) for r in made}
    found = write_report(
        tmp_path / "report",
        cohort_of(made, (LIVER, TUMOUR)),
        about(),
        inputs,
        ("background", "liver", "tumour"),
        PageOptions(viewer=False),
    )
    (one,) = json.loads(found.summary.read_text())["expected_dice"]
    assert (one["structure"], one["role"], one["cases"], one["covered"]) == ("liver", "test", 2, 1)
