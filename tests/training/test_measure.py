from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medseg.planning.planner import make_plan
from medseg.planning.wishes import Wishes
from medseg.settings import NetworkSettings
from medseg.stages.train import Train
from medseg.training.measure import STEPS, made_up_batch, measure_step
from tests.planning.tiny import dataset


def small_plan(ndim):
    wishes = Wishes(
        patch_size=(16,) * ndim,
        batch_size=2,
        network=NetworkSettings(arguments={"widths": (4, 8)}),
    )
    data = dataset(spacings=((1.0,) * ndim,) * 4, shapes=((32,) * ndim,) * 4)
    return make_plan(data, wishes, "cpu")


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_step_costs_time_and_leaves_the_generators_alone(ndim):
    plan = small_plan(ndim)
    before = torch.random.get_rng_state()
    cost = measure_step(plan, Train(precision="32-true").recipe(plan, "cpu"), "cpu")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert cost.seconds > 0
    assert 1 <= cost.steps <= STEPS
    assert cost.device_bytes == cost.host_bytes >= 0


def test_memory_grows_with_the_patch():
    plan = replace(small_plan(3), patch_size=(64, 64, 64))
    cost = measure_step(plan, Train(precision="32-true").recipe(plan, "cpu"), "cpu")
    # the image, and the outputs of two convolutions of 4 channels that the backward pass needs
    assert cost.host_bytes > 2 * 64**3 * 4 * (1 + 2 * 4)


def test_memory_that_earlier_work_freed_counts_again():
    pieces = [torch.ones(40_000) for _ in range(2_000)]  # small enough to stay with the allocator
    del pieces
    test_memory_grows_with_the_patch()


def test_out_of_memory_is_none(monkeypatch):
    def fails(*_):
        raise MemoryError

    monkeypatch.setattr("medseg.training.measure.train_step", fails)
    plan = small_plan(2)
    assert measure_step(plan, Train(precision="32-true").recipe(plan, "cpu"), "cpu") is None


def test_the_made_up_annotation_has_a_slab_of_each_class():
    plan = replace(small_plan(2), patch_size=(4, 9))
    batch = made_up_batch(plan, 2)
    assert batch.image.shape == (2, 1, 4, 9)
    assert batch.label[1, 3].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert batch.label.dtype == torch.int16
