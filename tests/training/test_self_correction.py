"""A running average of networks corrects labels."""

from __future__ import annotations

import csv
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from medseg.io.store import open_array, write_array
from medseg.labels import IGNORE_INDEX
from medseg.networks import build_network
from medseg.training import loop
from medseg.training.checkpoint import load_checkpoint
from medseg.training.cycles import SelfCorrection
from medseg.training.launch import train
from medseg.training.schedule import Budget
from medseg.training.self_correction import STATISTICS_PATCHES, Running
from tests.training.made import Recorder, make_scheme, make_task
from tests.training.test_loop import KilledError, assert_same_outcome, kill_after


def test_the_mean_of_three_networks_by_hand():
    network = nn.Linear(1, 1)
    running = Running(network)
    for count, weight in enumerate((3.0, 6.0, 12.0), start=1):
        nn.init.constant_(network.weight, weight)
        running.take_in(network)
        assert running.count == count
    assert running.network.weight.item() == pytest.approx(7.0)
    assert network.weight.item() == 12.0
    other = Running(network)
    other.load(running.to_dict())
    assert (other.count, other.network.weight.item()) == (3, pytest.approx(7.0))


def test_statistics_are_those_of_the_first_patches_without_their_margin():
    def patch(number):
        image = torch.full((1, 6, 6), 100.0)  # the margin must not count
        image[:, 1:5, 1:5] = float(number)
        return {"image": image}

    class Patches:
        margin, sampler = (1, 1), SimpleNamespace(patch_size=(4, 4))

        def __getitem__(self, number):
            return patch(number)

    running = Running(nn.Sequential(nn.BatchNorm2d(1, momentum=0.3)))
    running.take_statistics(Patches(), 2, torch.autocast("cpu", enabled=False))
    norm = running.network[0]
    assert norm.running_mean.item() == pytest.approx((STATISTICS_PATCHES - 1) / 2)
    pairs = [torch.tensor([2.0 * n, 2.0 * n + 1]).repeat(16).var().item() for n in range(3)]
    assert norm.running_var.item() == pytest.approx(pairs[0], rel=1e-4)
    assert (norm.momentum, norm.training) == (0.3, False)


class Says(nn.Module):
    """Logits that do not depend on the image."""

    def __init__(self, logits):
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, image):
        return self.logits


def corrected(logits, label, count, *, regions=False, annotated=None):
    running = Running(Says(logits))
    running.count = count
    image = torch.zeros(len(label), 1, *label.shape[1:])
    return running.correct(image, label, annotated, make_scheme(regions=regions))


def test_a_label_falls_where_another_class_is_likelier_by_more_than_one_in_count():
    """Probabilities of the three voxels' given class: 0.2, 0.3, 0.2 (but ignored)."""
    probs = torch.tensor([[0.2, 0.3, 0.2], [0.8, 0.7, 0.8], [1e-9, 1e-9, 1e-9]])
    logits = probs.log().reshape(1, 3, 1, 3)
    label = torch.tensor([[[0, 0, IGNORE_INDEX]]], dtype=torch.int16)
    # two networks: 1/3 + 2/3 * 0.2 < 2/3 * 0.8, and 1/3 + 2/3 * 0.3 > 2/3 * 0.7
    assert corrected(logits, label, 2).tolist() == [[[1, 0, IGNORE_INDEX]]]
    assert corrected(logits, label, 3).tolist() == [[[1, 1, IGNORE_INDEX]]]
    certain = torch.tensor([-50.0, 50.0, -50.0]).reshape(1, 3, 1, 1).expand(1, 3, 1, 3)
    assert torch.equal(corrected(certain, label, 1), label)  # one network never overrules
    assert corrected(logits, label, 2).dtype == torch.int16


def test_a_class_that_is_not_annotated_is_never_written():
    logits = torch.tensor([-9.0, 9.0, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    label = torch.full((1, 2, 2), 2)
    hidden = torch.tensor([[True, False, True]])
    assert (corrected(logits, label, 3, annotated=hidden) == 0).all()
    assert (corrected(logits, label, 3) == 1).all()


def test_regions_are_corrected_each_by_itself():
    """Regions: both labels together, and the right one within; shown as (both, core)."""
    logits = torch.tensor([[9.0, 9.0], [9.0, -9.0], [-9.0, -9.0]]).T.reshape(1, 2, 1, 3)
    label = torch.tensor([[[1, 2, 2]]])
    assert corrected(logits, label, 3, regions=True).tolist() == [[[2, 1, 0]]]
    unsure = torch.zeros(1, 2, 1, 3)
    assert torch.equal(corrected(unsure, label, 3, regions=True), label)
    partial = torch.tensor([[True, False, True]])
    assert torch.equal(corrected(logits, label, 3, regions=True, annotated=partial), label)


SHORT = {
    "budget": Budget(iterations=6),
    "self_correction": SelfCorrection(cycles=2, first=0.34),
    "network": {"norm": "batch"},
    "checkpoint_every": Budget(iterations=1),
}


@pytest.mark.parametrize("killed_at", [3, 5])
def test_a_killed_and_resumed_run_equals_an_undisturbed_one(tmp_path, monkeypatch, killed_at):
    """Phases end before steps 3, 5 and at the end; labels are corrected from step 5 on."""
    whole, broken = make_task(tmp_path / "a", **SHORT), make_task(tmp_path / "b", **SHORT)
    done = train(whole, Recorder())
    with monkeypatch.context() as patch:
        kill_after(patch, killed_at)
        with pytest.raises(KilledError):
            train(broken, Recorder())
    train(broken, Recorder())
    assert_same_outcome(whole, broken)
    ends = [load_checkpoint(task.folder)["running"] for task in (whole, broken)]
    assert [end["count"] for end in ends] == [3, 3]
    for name, value in ends[0]["network"].items():
        assert torch.equal(value, ends[1]["network"][name])
    if done.best_step == 6:  # what was validated and kept last is the mean
        kept = load_file(loop.best_weights(whole, done))
        assert all(torch.equal(kept[name], ends[0]["network"][name]) for name in kept)


def test_the_mean_network_is_validated_and_overrules_wrong_labels(tmp_path):
    """A tenth of the training voxels is labelled at random; the rate restarts."""
    task = make_task(
        tmp_path,
        budget=Budget(iterations=60),
        validations=6,
        lr=1e-2,
        augment={"enabled": False},
        network={"norm": "batch", "widths": (8, 16)},
        self_correction=SelfCorrection(cycles=3, first=0.5),
    )
    rng = np.random.default_rng(0)
    clean = {}
    for case in task.train:
        clean[case.id] = open_array(case.label).read_all()
        noise = rng.random(clean[case.id].shape) < 0.1
        wrong = np.where(noise, rng.integers(0, 3, noise.shape), clean[case.id])
        write_array(case.label, wrong.astype(np.int16))
    state = train(task, Recorder())
    running = Running(build_network(task.plan.network))
    running.load(load_checkpoint(task.folder)["running"])
    assert running.count == 4
    before, after = 0, 0
    for case in task.train:
        image = torch.from_numpy(open_array(case.image).read_all())[None]
        noisy = torch.from_numpy(open_array(case.label).read_all())[None]
        mended = running.correct(image, noisy, None, task.plan.scheme)
        truth = torch.from_numpy(clean[case.id])[None]
        before += int((noisy != truth).sum())
        after += int((mended != truth).sum())
    assert after < 0.8 * before
    assert state.best_dice["mean"] > 0.8
    with (task.folder / "history.csv").open() as file:
        rates = [float(row["train/lr"]) for row in csv.DictReader(file)]
    assert any(later > sooner for sooner, later in pairwise(rates))
