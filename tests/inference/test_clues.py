from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from medseg.geometry.volume import Grid
from medseg.inference.clues import ClueCounter, HeardFlips
from medseg.inference.flips import predict_mirrored
from medseg.inference.predictor import Predictor, WindowSettings
from medseg.labels import Label, LabelScheme, Region
from tests.inference.toys import SCHEME, make_plan

NESTED = LabelScheme(
    labels=(Label(value=1, name="oedema"), Label(value=2, name="core")),
    regions=(
        Region(name="whole", labels=("oedema", "core")),
        Region(name="inner", labels=("core",)),
    ),
)


class Slope(nn.Module):
    """Bright voxels, the likelier the farther along a tile's axes: flips disagree."""

    def forward(self, image):
        excess = image.mean(dim=1, keepdim=True) - 0.5
        for axis, size in enumerate(image.shape[2:], start=2):
            shape = [1] * image.ndim
            shape[axis] = size
            excess = excess + torch.linspace(-0.2, 0.4, size).reshape(shape)
        return torch.cat([-2 * excess, 2 * excess], dim=1)


def logits_of(probability):
    p = torch.as_tensor(probability, dtype=torch.float64)
    return torch.log(p / (1 - p)).float()


def test_the_dice_that_probabilities_promise_is_worked_by_hand():
    """Of p = 0.9 0.6 0.3 0.1 the first two are marked: 2 (0.9 + 0.6) / (2 + 1.9)."""
    counter = ClueCounter(SCHEME)
    logits = logits_of([[[0.9, 0.6], [0.3, 0.1]]])
    counter.see(torch.cat([torch.zeros_like(logits), logits]))
    clues = counter.found()["bright"]
    assert clues == {"probability": pytest.approx(3 / 3.9)}


def test_regions_are_judged_by_their_own_channel_and_all_their_labels():
    """Whole 0.9 0.8 0.2, inner 0.7 0.4 0.1: whole marks two voxels, one of them as core."""
    counter = ClueCounter(NESTED)
    counter.see(logits_of([[[0.9, 0.8, 0.2]], [[0.7, 0.4, 0.1]]]))
    clues = counter.found()
    assert clues["whole"]["probability"] == pytest.approx(2 * 1.7 / (2 + 1.9))
    assert clues["inner"]["probability"] == pytest.approx(2 * 0.7 / (1 + 1.2))


def test_without_background_the_first_output_has_no_share():
    scheme = LabelScheme(
        labels=(Label(value=0, name="road"), Label(value=1, name="sky")),
        label_map={0: "road", 1: "sky"},
    )
    assert not scheme.has_background
    counter = ClueCounter(scheme)
    counter.see(torch.tensor([[[9.0]], [[0.0]], [[0.0]]]))  # road wins the tie at one half
    assert counter.found() == {"road": {"probability": pytest.approx(2 * 0.5 / 1.5)}}


def test_the_agreement_of_flips_is_worked_by_hand():
    """Mean 1100, flips 1110 and 1000: 2 (2 + 1) / ((2 + 3) + (2 + 1))."""
    counter = ClueCounter(SCHEME)
    mean = torch.tensor([1, 1, 0, 0], dtype=torch.int16)
    voices = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]], dtype=torch.int16)
    counter.hear(list(voices), mean)
    counter.see(torch.tensor([[[0.0, 0.0, 0.0, 0.0]], [[1.0, 1.0, -1.0, -1.0]]]))
    assert counter.found()["bright"]["flips"] == pytest.approx(6 / 8)


def test_what_was_not_found_has_no_clue():
    counter = ClueCounter(NESTED)
    counter.hear([torch.zeros(4, dtype=torch.int16)], torch.zeros(4, dtype=torch.int16))
    counter.see(torch.full((2, 3, 4), -5.0))
    assert counter.found() == {}


@pytest.mark.parametrize("ndim", [2, 3])
def test_heard_flips_average_as_the_window_does(ndim):
    image = torch.rand((2, 1, *(5, 4, 6)[:ndim]), generator=torch.Generator().manual_seed(0))
    axes, counter = tuple(range(ndim)), ClueCounter(SCHEME)
    heard = HeardFlips(Slope(), axes, counter)(image)
    assert torch.equal(heard, predict_mirrored(Slope(), image, axes))
    assert counter.votes.sum() == 2**ndim * image.numel()


def predict(image, mirror, counter=None, maps=(), patch=4):
    ndim = image.ndim - 1
    plan = make_plan(spacing=(1.0,) * ndim, patch_size=(patch,) * ndim)
    settings = WindowSettings(mirror=mirror, precision="32-true", batch_size=3)
    return Predictor(Slope(), plan, settings).predict(
        image,
        case="a",
        crop_start=(0,) * ndim,
        crop_stop=image.shape[1:],
        source=Grid.of(image.shape[1:], np.eye(ndim + 1)),
        maps=maps,
        clues=counter,
    )


@pytest.mark.parametrize("shape", [(9, 11), (7, 9, 6)])
@pytest.mark.parametrize("mirror", [False, True])
def test_counting_changes_nothing_and_sees_each_voxel_once(shape, mirror):
    image = np.random.default_rng(0).random((1, *shape), dtype=np.float32)
    counter = ClueCounter(SCHEME)
    counted = predict(image, mirror, counter)
    plain = predict(image, mirror, maps=("classes",))
    assert np.array_equal(counted.indices, plain.indices)
    assert counter.voxels.tolist() == np.bincount(counted.indices.ravel(), minlength=2).tolist()
    clues = counter.found()["bright"]
    p, mask = plain.maps["classes"][1] / 255, plain.indices == 1
    assert clues["probability"] == pytest.approx(
        2 * p[mask].sum() / (mask.sum() + p.sum()), abs=2e-3
    )
    assert ("flips" in clues) == mirror


@pytest.mark.parametrize("ndim", [2, 3])
def test_in_one_tile_flips_agree_as_whole_predictions_do(ndim):
    shape = (5, 6, 4)[:ndim]
    image = np.random.default_rng(1).random((1, *shape), dtype=np.float32)
    batch = torch.from_numpy(image)[None]
    counter = ClueCounter(SCHEME)
    HeardFlips(Slope(), tuple(range(ndim)), counter)(batch)
    axes = [tuple(a for a in range(ndim) if bits >> a & 1) for bits in range(2**ndim)]
    answers = []
    for flip in axes:
        turned = np.flip(image, [a + 1 for a in flip]).copy()
        logits = Slope()(torch.from_numpy(turned)[None])[0].numpy()
        answers.append(np.flip(logits, [a + 1 for a in flip]))
    masks = [a[1] > a[0] for a in answers]
    mean = np.mean(answers, axis=0)
    final = mean[1] > mean[0]
    shared = sum((m & final).sum() for m in masks)
    overlap = 2 * shared / (sum(m.sum() for m in masks) + len(masks) * final.sum())
    assert 0.3 < overlap < 1
    counter.see(torch.from_numpy(mean.copy()))
    assert counter.found()["bright"]["flips"] == pytest.approx(overlap)


def test_a_map_of_disagreement_hears_the_same_flips():
    image = np.random.default_rng(2).random((1, 6, 5, 7), dtype=np.float32)
    alone, beside = ClueCounter(SCHEME), ClueCounter(SCHEME)
    predict(image, True, alone)
    predict(image, True, beside, maps=("disagreement",))
    assert np.array_equal(alone.votes, beside.votes)
    for clue, value in alone.found()["bright"].items():
        assert beside.found()["bright"][clue] == pytest.approx(value)
