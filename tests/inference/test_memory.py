from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from medseg.errors import CaseError
from medseg.geometry.volume import Grid
from medseg.inference import memory
from medseg.inference import thrift as module
from medseg.inference.memory import (
    Frugality,
    Need,
    activation_bytes,
    allowance,
    logits_bytes,
)
from medseg.inference.predictor import Predictor
from medseg.inference.tiles import Layout
from medseg.inference.window import WindowSettings
from tests.inference.toys import Threshold, make_plan

CPU = torch.device("cpu")


def test_logits_held_by_hand():
    """Five of ten planes of 4 x 3 voxels, 6 channels and a weight: 5 * 12 * (6 + 1) * 4 bytes."""
    layout = Layout.of((10, 4, 3), (4, 4, 3), 0.5)
    assert logits_bytes(layout, 6, torch.float32) == 1680
    assert logits_bytes(layout, 6, torch.float16) == 5 * 12 * (6 * 2 + 4)
    options = Layout.of((10, 4, 3), (4, 4, 3), 0.5, adaptive=True)
    assert options.window == 7  # 12 bytes a voxel for weights and the choice
    assert logits_bytes(options, 6, torch.float32) == 7 * 12 * (24 + 12)


def test_activations_by_hand():
    """Input, first output (4 channels), ReLU in place, second output (2): 1 + 4 + 2 at most."""
    network = nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv3d(4, 2, 1)
    )
    voxels = 8**3
    found = activation_bytes(network, 1, (8, 8, 8), CPU)
    assert found == 4 * voxels * (1 + 4 + 2) + 2 * 4 * voxels * 4  # two copies of the largest


@pytest.mark.parametrize("patch", [(64, 8), (64, 64), (64, 8, 4)])
def test_activations_of_half_a_tile_are_scaled_up(patch):
    conv = nn.Conv2d if len(patch) == 2 else nn.Conv3d
    network = conv(1, 2, 1)
    voxels = int(np.prod(patch))
    assert activation_bytes(network, 1, patch, CPU) == 4 * voxels * (1 + 2 + 2 * 2)


def test_the_thriftier_the_later():
    start = Frugality(batch_size=4, adaptive=True)
    steps = list(start.thriftier(cuda=False))
    assert steps == [
        start,
        Frugality(batch_size=2, adaptive=True),
        Frugality(batch_size=1, adaptive=True),
        Frugality(batch_size=1, adaptive=False),
        Frugality(batch_size=1, adaptive=False, half=True),
    ]
    *_, last = start.thriftier(cuda=True)
    assert last == Frugality(batch_size=1, adaptive=False, on_host=True)


def test_what_is_needed_where():
    need = Need(logits=1000, tile=10, batch_size=3, padded=7, results=5)
    assert need.on(CPU) == 1000 + 30 + 7 + 5 + memory.BLOCKS
    gpu = torch.device("cuda")
    assert need.on(gpu) == 1000 + 30 + memory.BLOCKS
    on_host = Need(logits=1000, tile=10, batch_size=3, padded=7, results=5, logits_on_host=True)
    assert on_host.on(gpu) == 30


def test_a_limit_counts_what_the_process_has_already():
    assert allowance(10**12, CPU) < 10**12 - 10**7
    assert allowance(None, CPU) > 0
    assert allowance(1, CPU) < 0


def limited(monkeypatch, allowed, **settings):
    """A predictor of a network of 64 channels that may add some bytes."""
    network = nn.Sequential(
        nn.Conv3d(1, 64, 1), nn.Conv3d(64, 1, 1), Threshold(ndim=3, in_channels=1, num_classes=2)
    )
    nn.init.ones_(network[0].weight), nn.init.constant_(network[1].weight, 1 / 64)
    nn.init.zeros_(network[0].bias), nn.init.zeros_(network[1].bias)
    plan = make_plan(spacing=(1.0,) * 3, patch_size=(8, 8, 8))
    kind = WindowSettings(precision="32-true", batch_size=8, memory=1, **settings)
    monkeypatch.setattr(module, "allowance", lambda limit, device: allowed)
    return Predictor(network, plan, kind)


def run(predictor, image):
    shape = image.shape[1:]
    return predictor.indices(
        image, case="a", crop_start=(0, 0, 0), crop_stop=shape, source=Grid.of(shape, np.eye(4))
    )


def test_batch_then_options_then_precision_are_stepped_down(monkeypatch, caplog):
    image = np.random.default_rng(0).random((1, 40, 12, 12), dtype=np.float32)
    predictor = limited(monkeypatch, 10**9, adaptive=True)
    size, results = image.shape[1:], 2 * image.size
    choices = list(Frugality(batch_size=8, adaptive=True).thriftier(cuda=False))
    needs = [predictor.thrift.need(size, how, results=results).on(CPU) for how in choices]
    assert needs == sorted(needs, reverse=True)
    assert len(set(needs)) == len(needs)
    expected = run(predictor, image)
    for how, need in zip(choices, needs, strict=True):
        seen = []
        predictor = limited(monkeypatch, need, adaptive=True)
        original = predictor._sweep
        monkeypatch.setattr(
            predictor,
            "_sweep",
            lambda image, layout, how, *rest, run=original, seen=seen: (
                seen.append(how),
                run(image, layout, how, *rest),
            )[1],
        )
        found = run(predictor, image)
        assert seen == [how]
        assert (found != expected).mean() < 1e-3


def test_a_limit_that_nothing_keeps_sets_the_case_aside(monkeypatch):
    predictor = limited(monkeypatch, 1000)
    with pytest.raises(CaseError, match=r"case a: predicting .* takes .* GB .*raise infer.memory"):
        run(predictor, np.zeros((1, 9, 9, 9), np.float32))


def test_without_a_limit_it_is_tried_all_the_same(monkeypatch, caplog):
    predictor = limited(monkeypatch, 1000)
    monkeypatch.setattr(predictor.thrift, "settings", WindowSettings(precision="32-true"))
    image = np.ones((1, 9, 9, 9), np.float32)
    assert (run(predictor, image) == 1).all()
    assert "are free; trying" in caplog.text
