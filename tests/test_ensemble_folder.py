from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from medseg.ensemble_folder import EnsembleFolder, open_model, write_ensemble_folder
from medseg.errors import ConfigError
from medseg.finished import PostprocessRule
from medseg.labels import Label, LabelScheme
from medseg.model_folder import ModelFolder, read_model_folder
from medseg.pipelines.predict import predict
from tests.inference.toys import install, make_model_folder, make_plan

RULES = (PostprocessRule(structure="bright", min_volume_ml=0.01),)


def part(folder, spacing=(1.0, 1.0, 1.0), thresholds=(0.5,), **changes):
    plan = make_plan(spacing=spacing, patch_size=(4, 4, 4), **changes)
    return read_model_folder(make_model_folder(folder, plan, thresholds=thresholds))


def ensemble(tmp_path):
    fine, coarse = part(tmp_path / "a"), part(tmp_path / "b", (2.0, 2.0, 2.0), (0.2, 0.4))
    return write_ensemble_folder(tmp_path / "both", [("fine", fine), ("coarse", coarse)], RULES)


def test_what_was_written_is_read_back(tmp_path):
    folder = open_model(ensemble(tmp_path))
    assert isinstance(folder, EnsembleFolder)
    assert [plan.spacing for plan in folder.plans] == [(1.0,) * 3, (2.0,) * 3]
    assert [len(one.weights) for one in folder.parts] == [1, 2]
    assert folder.rules == RULES
    assert [len(one.weights) for one in folder.with_folds([0]).parts] == [1, 1]
    assert isinstance(open_model(folder.folder / "fine"), ModelFolder)
    with pytest.raises(ConfigError, match="is an ensemble of several models"):
        read_model_folder(folder.folder)


def test_models_that_do_not_fit_together_are_refused(tmp_path):
    one = part(tmp_path / "a")
    other = LabelScheme(labels=(Label(value=5, name="dark"),))
    for change, message in (
        ({"scheme": other}, "different label tables"),
        ({"channels": ("t1", "t2")}, "channels t1, t2 and image"),
    ):
        two = part(tmp_path / message.split()[0], **change)
        with pytest.raises(ConfigError, match=message):
            write_ensemble_folder(tmp_path / "both", [("one", one), ("two", two)], ())
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "format is 9"),
        ({"parts": []}, "must name sub-folders"),
        ({"parts": ["../a"]}, "must name sub-folders"),
        ({"parts": ["fine", "gone"]}, "gone: no such folder"),
    ],
)
def test_faulty_ensembles_are_named(tmp_path, change, message):
    folder = ensemble(tmp_path)
    document = json.loads((folder / "ensemble.json").read_text())
    (folder / "ensemble.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(ConfigError, match=message):
        open_model(folder)


def test_predict_averages_the_probabilities_and_applies_the_rules_of_the_ensemble(
    tmp_path, monkeypatch
):
    """A voxel of 0.4: excess -0.1 of a threshold of 0.5, +0.2 of one of 0.2: together bright."""
    install(monkeypatch)
    image = np.zeros((8, 8, 8), np.float32)
    image[2:6, 2:6, 2:6] = 0.4
    image[7, 7, 7] = 0.9  # 1 mm3: less than the rule keeps
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "case.nii.gz")
    strict, lax = part(tmp_path / "a"), part(tmp_path / "b", thresholds=(0.2,))
    both = write_ensemble_folder(tmp_path / "both", [("a", strict), ("b", lax)], RULES)

    def found(model, out):
        (path,) = predict(model, tmp_path / "case.nii.gz", tmp_path / out, device="cpu").written
        return nib.load(path).get_fdata()

    inside = np.zeros(image.shape)
    inside[2:6, 2:6, 2:6] = 5
    assert np.array_equal(found(both, "mixed"), inside)
    assert np.count_nonzero(found(strict.folder, "strict")) == 1
    assert np.count_nonzero(found(lax.folder, "lax")) == 65
