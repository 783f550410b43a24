"""From predictions with clues to a calibrated model folder, and what `predict` says by it."""

from __future__ import annotations

import logging
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from medseg.io.store import write_array
from medseg.pipelines.predict import predict
from medseg.reporting.quality import read_quality
from medseg.stages.calibrate import final_dice
from medseg.stages.postprocess import Postprocess
from tests.fakes import LocalContext
from tests.inference.toys import SCHEME, install, make_model, make_plan
from tests.reporting.examples import without_pictures
from tests.stages.test_postprocess import AFFINE, BRIGHT, dataset_of, predictions_of, write_case

COUNT = 12
LABEL = 5 * (BRIGHT > 0)


@pytest.fixture(autouse=True)
def _toy_network(monkeypatch):
    install(monkeypatch)


def partial(removed):
    """A prediction that lacks some of the 64 voxels."""
    pred = (BRIGHT > 0).astype(np.int16)
    places = np.argwhere(pred)[:removed]
    pred[tuple(places.T)] = 0
    return pred


def finished(folder, clue=lambda dice: dice - 0.02, count=COUNT):
    """Run the stage on validation cases of all qualities, and on a test case."""
    plan = make_plan(spacing=(1.0, 1.5, 2.0), patch_size=(4, 4, 4))
    removed = {f"val{i:02}": 4 * i for i in range(count)} | {"test": 10, "empty": 64}
    cases = [write_case(folder, name, BRIGHT, LABEL, fold=0) for name in list(removed)[:count]]
    cases += [write_case(folder, name, BRIGHT, None, "test", None) for name in ("test", "empty")]
    found = predictions_of(folder, cases, {name: partial(n) for name, n in removed.items()})
    predictions = replace(
        found,
        cases=tuple(
            replace(one, clues={"bright": {"probability": clue(dice_of(removed[one.id]))}})
            for one in found.cases
        ),
    )
    model = make_model(folder / "trained", plan)
    stage = Postprocess(rules="off")
    return stage.run(dataset_of(plan, *cases), plan, predictions, model, LocalContext(folder))


def dice_of(removed):
    return 2 * (64 - removed) / (64 - removed + 64)


def test_validation_calibrates_and_every_case_is_judged(tmp_path):
    found = finished(tmp_path)
    (calibration,) = found.calibrations
    found_in = (calibration.structure, calibration.clue, calibration.cases)
    assert found_in == ("bright", "probability", COUNT)
    assert calibration.reason == ""
    assert calibration.error < 0.01
    assert calibration.spearman == pytest.approx(1)
    assert read_quality(found.model) == found.calibrations
    expected = {case.id: case.expected[0] for case in found.cases}
    assert expected["test"].value == pytest.approx(dice_of(10), abs=0.01)
    assert expected["test"].low < expected["test"].value < expected["test"].high
    assert (expected["empty"].value, expected["empty"].reason) == (None, "it was not found")
    errors = [abs(expected[f"val{i:02}"].value - dice_of(4 * i)) for i in range(COUNT)]
    assert np.mean(errors) == pytest.approx(calibration.error), "each is left out of its own"


def test_too_few_validation_cases_give_words_in_place_of_numbers(tmp_path):
    found = finished(tmp_path, count=2)
    (calibration,) = found.calibrations
    assert calibration.clue is None
    assert all("needs 10 validation cases" in case.expected[0].reason for case in found.cases)


@pytest.mark.parametrize(
    ("removed", "expected"), [(0, {"bright": 1.0}), (64, {}), (32, {"bright": 2 / 3})]
)
def test_the_dice_of_a_finished_prediction(tmp_path, removed, expected):
    """Half of the object found: 2 * 32 / (32 + 64)."""
    pred = partial(removed)
    case = write_case(tmp_path, "a", BRIGHT, LABEL).case
    file = write_array(tmp_path / "pred.b2nd", np.ascontiguousarray(pred[::-1, ::-1]))
    found = final_dice(out=tmp_path, pred=file, case=case, digest="", scheme=SCHEME)
    assert found == pytest.approx(expected)
    bare = replace(case, annotated=())
    assert final_dice(out=tmp_path, pred=file, case=bare, digest="", scheme=SCHEME) == {}


def test_predict_says_what_the_model_folder_expects(tmp_path, caplog):
    found = finished(tmp_path)
    nib.save(nib.Nifti1Image(BRIGHT, AFFINE), tmp_path / "new.nii.gz")
    with caplog.at_level(logging.INFO), without_pictures():
        predict(found.model, tmp_path / "new.nii.gz", tmp_path / "out", device="cpu", report=True)
    of_model, of_case = [
        r.getMessage() for r in caplog.records if "expected Dice" in r.getMessage()
    ]
    assert of_model.startswith("expected Dice of bright: off by 0.00")
    assert "on 12 validation cases" in of_model
    assert of_case.startswith("case new: expected Dice: bright 0.")
    page = (tmp_path / "out/report/cases/new.html").read_text()
    assert "Expected Dice of bright: 0." in page
    assert "on 12 validation cases this estimate was off by 0.00" in page
    (found.model / "quality.json").unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        predict(found.model, tmp_path / "new.nii.gz", tmp_path / "old", device="cpu")
    assert not [r for r in caplog.records if "expected Dice" in r.getMessage()]
