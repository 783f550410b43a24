from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from medseg.geometry.volume import Grid
from medseg.inference.ensemble import Ensemble
from medseg.inference.maps import (
    Disagreement,
    entropy,
    map_functions,
    mutual_information,
    probabilities,
    to_byte,
)
from medseg.inference.predictor import Predictor, WindowSettings
from medseg.labels import Label, LabelScheme, Region
from tests.inference.toys import SCHEME, Threshold, make_plan

REGIONS = LabelScheme(
    labels=(Label(value=1, name="oedema"), Label(value=2, name="core")),
    regions=(Region(name="core", labels=("core",)), Region(name="all", labels=("oedema", "core"))),
)


def test_entropy_by_hand():
    probs = torch.tensor([[1.0, 0.5, 0.25], [0.0, 0.5, 0.75]])
    found = entropy(probs, regions=False)
    quarter = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))  # 0.8113 bits
    assert found.tolist() == pytest.approx([0, 1, quarter], abs=1e-6)
    # Regions are two coins: certain and fair, fair and fair, 1/4 and 3/4.
    assert entropy(probs, regions=True).tolist() == pytest.approx([0, 1, quarter], abs=1e-6)
    assert entropy(torch.tensor([[1.0], [0.5]]), regions=True).item() == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
def test_entropy_agrees_with_scipy(shape):
    probs = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)).softmax(0)
    expected = stats.entropy(probs.numpy(), base=4, axis=0)
    np.testing.assert_allclose(entropy(probs, regions=False).numpy(), expected, rtol=1e-4)


def test_mutual_information_parts_disagreement_from_doubt():
    certain_but_split = torch.tensor([[[1.0], [0.0]], [[0.0], [1.0]]])
    agreed_doubt = torch.full((2, 2, 1), 0.5)
    for regions in (False, True):
        assert mutual_information(certain_but_split, regions=regions).item() == pytest.approx(1)
        assert mutual_information(agreed_doubt, regions=regions).item() == pytest.approx(0)


class Shift(nn.Module):
    """Two logits that move apart along the first axis: not the same when flipped."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, image):
        ramp = torch.arange(float(image.shape[2])).reshape(1, 1, -1, 1)
        return torch.cat([image * 0 + self.by, image + ramp], dim=1)


def test_disagreement_of_members_and_flips_beside_their_mean():
    image = torch.randn(2, 1, 4, 3, generator=torch.Generator().manual_seed(0))
    members = [Shift(0.0), Shift(2.0)]
    answers = []
    for member in members:
        answers += [member(image), member(image.flip(2)).flip(2)]
    stacked = torch.stack(answers)
    out = Disagreement(Ensemble(members), (0,), regions=False)(image)
    assert out.shape == (2, 3, 4, 3)
    torch.testing.assert_close(out[:, :2], stacked.mean(0))
    probs = stacked.softmax(2)
    for i in range(2):
        torch.testing.assert_close(out[i, 2], mutual_information(probs[:, i], regions=False))
    assert Disagreement(members[0], (), regions=False)(image)[:, 2].abs().max() < 1e-6


def test_foreground_is_what_is_not_background_or_the_likeliest_region():
    logits = torch.tensor([[2.0], [0.0]])
    byte = map_functions(SCHEME, ["foreground"])["foreground"](logits)
    assert byte.item() == round(255 / (1 + math.exp(2)))
    byte = map_functions(REGIONS, ["foreground"])["foreground"](logits)
    assert byte.item() == round(255 / (1 + math.exp(-2)))


def test_bytes_are_rounded_and_bounded():
    assert to_byte(torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.2])).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("scheme", [SCHEME, REGIONS])
def test_maps_lie_on_the_grid_of_the_source_and_background_outside_the_crop(scheme):
    network = Threshold(ndim=3, in_channels=1, num_classes=2)
    plan = make_plan(spacing=(1.0,) * 3, patch_size=(4, 4, 4), scheme=scheme)
    predictor = Predictor(network, plan, WindowSettings(precision="32-true"))
    image = np.random.default_rng(0).random((1, 5, 9, 4), dtype=np.float32) * 4
    done = predictor.predict(
        image,
        case="a",
        crop_start=(1, 0, 2),
        crop_stop=(6, 9, 6),
        source=Grid.of((7, 9, 8), np.eye(4)),
        maps=("foreground", "classes", "entropy", "disagreement"),
    )
    logits = predictor.logits(image)
    regions = scheme.activation == "sigmoid"
    probs = probabilities(logits, regions=regions)
    box = (slice(1, 6), slice(0, 9), slice(2, 6))
    expected = to_byte(entropy(probs, regions=regions)).numpy()
    assert np.abs(done.maps["entropy"][0][box].astype(int) - expected).max() <= 1
    classes = done.maps["classes"]
    assert classes.shape == (2, 7, 9, 8)
    assert np.abs(classes[:, *box].astype(int) - to_byte(probs).numpy()).max() <= 1
    assert not done.maps["disagreement"].any()  # one network, no flips
    beyond = np.ones((7, 9, 8), dtype=bool)
    beyond[box] = False
    for name, volume in done.maps.items():
        certain = 255 if name == "classes" and not regions else 0  # of background
        assert (volume[0][beyond] == certain).all()
        assert not volume[1:, beyond].any()
    assert np.array_equal(done.indices, predictor_indices(predictor, image))


def predictor_indices(predictor, image):
    return predictor.indices(
        image,
        case="a",
        crop_start=(1, 0, 2),
        crop_stop=(6, 9, 6),
        source=Grid.of((7, 9, 8), np.eye(4)),
    )


def test_folds_that_disagree_are_seen_in_the_map():
    plan = make_plan(spacing=(1.0,) * 2, patch_size=(4, 4))
    folds = [Threshold(ndim=2, in_channels=1, num_classes=2) for _ in range(2)]
    folds[1].threshold.data.fill_(-20.0)  # everything is bright
    folds[0].threshold.data.fill_(20.0)  # nothing is
    image = np.zeros((1, 4, 4), np.float32)
    done = Predictor(folds, plan, WindowSettings(precision="32-true")).predict(
        image, case="a", crop_start=(0, 0), crop_stop=(4, 4), source=Grid.of((4, 4), np.eye(3)),
        maps=("disagreement", "entropy"),
    )  # fmt: skip
    assert (done.maps["disagreement"] == 255).all()
    assert (done.maps["entropy"] == 255).all()  # the mean of the logits is even
