from __future__ import annotations

import numpy as np
import pytest

from medseg.geometry.volume import Volume
from medseg.inference.mixture import Mixture, class_probabilities, mean_indices
from medseg.inference.predictor import Predictor, WindowSettings
from medseg.labels import Label, LabelScheme, Region
from medseg.preprocessing import Recipe, preprocess
from tests.inference.toys import Threshold, make_plan

SCHEME = LabelScheme(labels=(Label(value=1, name="liver"), Label(value=2, name="tumour")))
REGIONS = LabelScheme(
    labels=SCHEME.labels,
    regions=(
        Region(name="all", labels=("liver", "tumour")),
        Region(name="core", labels=("tumour",)),
    ),
)
PLAIN = WindowSettings(precision="32-true")


@pytest.mark.parametrize("shape", [(5, 4), (4, 3, 2)])
def test_mean_of_classes_is_the_argmax_of_the_mean(shape):
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 256, (3, *shape)).astype(np.uint8) for _ in range(3)]
    expected = np.mean([part.astype(float) for part in parts], axis=0).argmax(axis=0)
    assert np.array_equal(mean_indices(parts, SCHEME), expected)


def test_regions_above_one_half_are_painted_widest_first():
    first = np.array([[200, 200, 60], [0, 200, 250]], np.uint8)
    second = np.array([[60, 60, 60], [0, 40, 250]], np.uint8)
    assert mean_indices([first, second], REGIONS).tolist() == [1, 1, 2]
    assert mean_indices([first], REGIONS).tolist() == [1, 2, 2]


def predictor(threshold, spacing):
    plan = make_plan(spacing=(spacing,) * 3, patch_size=(4, 4, 4))
    network = Threshold(ndim=3, in_channels=1, num_classes=2)
    network.threshold.data.fill_(threshold)
    return Predictor(network, plan, PLAIN), Recipe.of(plan)


def test_each_part_sees_the_image_at_its_own_spacing():
    image = np.zeros((1, 8, 8, 8), np.float32)
    image[0, 2:6, 2:6, 2:6] = 1.0
    volume = Volume(data=image, affine=np.eye(4))
    parts = [predictor(0.5, 1.0), predictor(0.5, 2.0)]
    ready = [preprocess(volume, recipe) for _, recipe in parts]
    assert [one.image.shape[1] for one in ready] == [4, 2]  # cropped to content
    told = []
    pred = Mixture([one for one, _ in parts]).indices(
        ready, case="a", source=volume.grid, advance=told.append
    )
    assert np.array_equal(pred, image[0])
    assert sum(told) == pytest.approx(1)
    probs = class_probabilities(parts[0][0], ready[0], case="a", source=volume.grid)
    assert probs.shape == (2, 8, 8, 8)
    assert (probs[:, 0] == np.array([255, 0])[:, None, None]).all()  # background outside the crop
    assert (probs.sum(axis=0, dtype=int)[2:6, 2:6, 2:6] == 255).all()
