from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import ConfigError
from medseg.pipelines.predict import predict
from tests.inference.toys import install, make_model_folder, make_plan
from tests.pipelines.test_predict import SPACING, bright_volume, ras_affine, write_turned


@pytest.fixture(autouse=True)
def _toy_network(monkeypatch):
    install(monkeypatch)


@pytest.fixture
def model(tmp_path):
    return make_model_folder(
        tmp_path / "run", make_plan(spacing=SPACING, patch_size=(4, 4, 4))
    ).parent


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAL"])
def test_maps_lie_on_the_grid_of_the_input(tmp_path, model, codes):
    image = write_turned(tmp_path / "a.nii.gz", bright_volume(), ras_affine(), codes)
    predict(model, tmp_path / "a.nii.gz", tmp_path / "out", device="cpu",
            maps=["foreground", "entropy", "classes"])  # fmt: skip
    folder = tmp_path / "out" / "maps"
    foreground = nib.load(folder / "a_foreground.nii.gz")
    assert foreground.shape == image.shape
    np.testing.assert_allclose(foreground.affine, image.affine, atol=1e-5)
    values = foreground.get_fdata()
    bright = image.get_fdata() > 0.5
    assert values[bright].min() > 0.5 > values[~bright].max()  # mirrored or shifted, it would fail
    classes = nib.load(folder / "a_classes.nii.gz").get_fdata()
    np.testing.assert_allclose(classes.sum(-1), 1, atol=0.01)
    np.testing.assert_allclose(1 - classes[..., 0], values, atol=0.005)
    assert nib.load(folder / "a_entropy.nii.gz").get_fdata().max() <= 1


def test_one_network_without_flips_cannot_disagree(tmp_path, model):
    write_turned(tmp_path / "a.nii.gz", bright_volume(), ras_affine(), "RAS")
    with pytest.raises(ConfigError, match="disagrees with nobody"):
        predict(model, tmp_path / "a.nii.gz", tmp_path / "out", device="cpu",
                maps=["disagreement"])  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_names_offered_are_those_that_inference_knows():
    from medseg.inference import maps
    from medseg.pipelines import arguments

    assert arguments.MAPS == maps.MAPS
