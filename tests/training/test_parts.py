"""Checkpoint, running average, meter, batches, generators, signals."""

from __future__ import annotations

import itertools
import math
import os
import signal

import pytest
import torch
from torch import nn

from medseg.errors import StageError
from medseg.networks.blocks import BATCH_NORM
from medseg.sampling.patches import PatchDataset
from medseg.sampling.sampler import PatchSampler
from medseg.training.checkpoint import load_checkpoint, save_checkpoint
from medseg.training.data import EndlessBatches, load_batches
from medseg.training.ema import GAMMA, Average
from medseg.training.meter import Meter
from medseg.training.rng import generator_at
from medseg.training.state import State
from medseg.training.stop import GracefulStop, Stopped
from tests.training.made import make_task


def test_a_write_that_dies_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, {"step": 1})

    def dies(content, file):
        file.write(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", dies)
        with pytest.raises(OSError, match="disk full"):
            save_checkpoint(tmp_path, {"step": 2})
    assert load_checkpoint(tmp_path) == {"step": 1}
    save_checkpoint(tmp_path, {"step": 3})
    assert load_checkpoint(tmp_path) == {"step": 3}


def test_state_survives_a_round_trip(tmp_path):
    state = State(step=3, best_dice={"a": 0.5, "mean": math.nan}, history=[{"step": 1.0}])
    state.recent.add(3, {"loss": torch.tensor(0.25)})
    save_checkpoint(tmp_path, {"state": state.to_dict()})
    again = State.from_dict(load_checkpoint(tmp_path)["state"])
    assert again.recent.means() == {"loss": 0.25}
    assert (again.step, again.history) == (3, [{"step": 1.0}])
    assert math.isnan(again.best_dice["mean"])


def test_a_later_validation_replaces_an_equal_or_undefined_one():
    state = State()
    assert state.is_better({"mean": math.nan})
    state.best_dice = {"mean": math.nan}
    assert state.is_better({"mean": 0.0})
    state.best_dice = {"mean": 0.4}
    assert state.is_better({"mean": 0.4})
    assert not state.is_better({"mean": 0.39})
    assert not state.is_better({"mean": math.nan})


def test_where_miou_decides_dice_does_not():
    state = State(best_dice={"mean": 0.4}, best_pixels={"miou": 0.3})
    assert state.best == ("mIoU", 0.3)
    assert state.is_better({"mean": 0.1}, {"miou": 0.3})
    assert not state.is_better({"mean": 0.9}, {"miou": 0.29})
    again = State.from_dict(state.to_dict())
    assert again.best_pixels == {"miou": 0.3}


def test_running_average_by_hand():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), BATCH_NORM[2](1))
    nn.init.constant_(network[0].weight, 0.0)
    average = Average(network, decay=0.5)
    nn.init.constant_(network[0].weight, 1.0)
    network[1].num_batches_tracked += 7
    average.update(network, step=1)  # decay min(0.5, 2 / 11)
    assert average.network[0].weight.item() == pytest.approx(9 / 11)
    average.update(network, step=100)  # decay 0.5
    assert average.network[0].weight.item() == pytest.approx(1 - 2 / 11 / 2)
    assert average.network[1].num_batches_tracked == 7
    assert network[0].weight.item() == 1
    assert not average.network[0].weight.requires_grad


def test_auto_average_by_hand():
    """The mean of 1, 2, ... under the weights s^gamma lies at a fixed share of the last."""
    network = nn.Conv2d(1, 1, 1, bias=False)
    average = Average(network, decay="auto")
    for step in range(1, 2001):
        nn.init.constant_(network.weight, float(step))
        average.update(network, step)
        if step == 1:
            assert average.network.weight.item() == 1  # nothing is left of the random start
        if step in (200, 2000):
            share = (GAMMA + 1) / (GAMMA + 2)  # of the integral of s^gamma * s
            assert average.network.weight.item() / step == pytest.approx(share, abs=5e-3)


@pytest.mark.parametrize("decay", [0.9, "auto"])
def test_averaged_running_statistics_suit_the_averaged_weights(decay):
    """In evaluation the averaged network puts out what training showed: mean 0, variance 1."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), BATCH_NORM[2](4))
    average = Average(network, decay)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    image = 3 + torch.randn(16, 1, 12, 12)
    for step in range(1, 201):
        network(image).mul(torch.linspace(-1, 1, 10)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update(network, step)
    hidden = average.network.eval()[1]
    out = (hidden(average.network[0](image)) - hidden.bias[:, None, None]) / hidden.weight[
        :, None, None
    ]
    assert out.mean((0, 2, 3)).abs().max() < 0.1
    assert (out.std((0, 2, 3)) - 1).abs().max() < 0.1


def test_meter_means_and_first_bad_step():
    meter = Meter()
    assert meter.means() == {}
    for step, loss in enumerate((1.0, 2.0, math.nan, math.inf), start=1):
        meter.add(step, {"loss": torch.tensor(loss), "ce": torch.tensor(4.0)})
        if step == 2:
            meter.check()
            assert meter.means() == {"loss": 1.5, "ce": 4.0}
    with pytest.raises(StageError, match=r"at step 3; lower train\.lr"):
        meter.check()
    meter.reset()
    with pytest.raises(StageError, match="step 3"):
        meter.check()


def test_batches_are_numbered_and_shared_out():
    whole = list(itertools.islice(EndlessBatches(4), 3))
    assert whole == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert next(iter(EndlessBatches(4, first=2))) == whole[2]
    for i, batch in enumerate(whole):
        halves = [next(iter(EndlessBatches(2, first=i, rank=r, world=2))) for r in (0, 1)]
        assert halves[0] + halves[1] == batch


def test_batch_i_does_not_depend_on_where_one_starts_nor_touch_the_global_generator(tmp_path):
    task = make_task(tmp_path)
    sampler = PatchSampler(task.patches, task.train, task.plan.patch_size)
    dataset = PatchDataset(sampler, task.train, task.plan.scheme, length=2**62)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    cpu = torch.device("cpu")
    third = list(itertools.islice(load_batches(dataset, 2, cpu), 3))[2]
    again = next(load_batches(dataset, 2, cpu, first=2))
    assert all(torch.equal(a, b) for a, b in zip(third, again, strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    assert third.image.shape == (2, 1, 16, 16)
    assert third.label.shape == (2, 16, 16)
    assert third.annotated.shape == (2, 3)


def test_generators_differ_by_place_and_repeat():
    def draw(*place):
        return torch.rand(4, generator=generator_at(*place)).tolist()

    places = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1), (0, 10, 0), (0, 1, 00)]
    assert draw(0, 1, 0) == draw(0, 1, 0)
    assert len({tuple(draw(*place)) for place in places}) == 5


def test_a_signal_waits_for_its_delivery_and_a_second_one_does_not():
    got = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        with GracefulStop() as stop:
            stop.check()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested
            assert got == []
            with pytest.raises(Stopped):
                stop.check()
            os.kill(os.getpid(), signal.SIGTERM)
            assert got == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
