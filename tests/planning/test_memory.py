"""Fitting to the memory, with made-up costs: no device is needed."""

from __future__ import annotations

from functools import partial

import pytest

from medseg.errors import StageError
from medseg.planning.memory import fit_to_memory
from medseg.planning.planner import make_plan
from medseg.planning.wishes import Wishes
from tests.planning.tiny import dataset

LIVER = dataset(spacings=((1, 0.7676, 0.7676),) * 131, shapes=((482, 512, 512),) * 131)
HIPPOCAMPUS = dataset(spacings=((1.0,) * 3,) * 260, shapes=((36, 50, 35),) * 260)


def planner(data, **wishes):
    return lambda scale: make_plan(data, Wishes(**wishes), "cuda:0", scale=scale)


def voxels(plan):
    count = plan.batch_size
    for side in plan.patch_size:
        count *= side
    return count


def below(limit, cost):
    return cost <= limit


def test_what_fits_is_left_alone():
    asked = []

    def measure(plan):
        asked.append(plan)
        return voxels(plan)

    plan, cost = fit_to_memory(planner(LIVER), measure, partial(below, 1e9), grow=False)
    assert (plan.patch_size, plan.batch_size) == ((128,) * 3, 2)
    assert cost == 2 * 128**3
    assert len(asked) == 1


def test_the_batch_gives_way_before_the_patch():
    limit = 5 * 40 * 56 * 40
    plan, cost = fit_to_memory(planner(HIPPOCAMPUS), voxels, partial(below, limit), grow=False)
    assert plan.patch_size == (40, 56, 40)
    assert 2 <= plan.batch_size <= 5
    assert cost <= limit


def test_the_patch_gives_way_where_the_batch_is_two():
    plan, cost = fit_to_memory(planner(LIVER), voxels, partial(below, 2 * 100**3), grow=False)
    assert plan.batch_size == 2
    assert 2 * 70**3 < cost <= 2 * 100**3


def test_out_of_memory_is_told_by_none():
    def measure(plan):
        return voxels(plan) if voxels(plan) < 2 * 128**3 else None

    plan, _ = fit_to_memory(planner(LIVER), measure, partial(below, 1e12), grow=False)
    assert voxels(plan) < 2 * 128**3


def test_a_stated_budget_is_filled():
    limit = 2 * 200**3
    _, cost = fit_to_memory(planner(LIVER, memory="8GB"), voxels, partial(below, limit), grow=True)
    assert 2 * 128**3 < cost <= limit


def test_a_cap_ends_the_growth():
    plan, _ = fit_to_memory(planner(HIPPOCAMPUS), voxels, partial(below, 1e12), grow=True)
    assert plan.batch_size == 9  # 5 % of the training voxels


def test_what_is_set_cannot_give_way():
    fixed = planner(LIVER, patch_size=(64, 64, 64), batch_size=4)
    with pytest.raises(StageError, match=r"4 patches of \[64, 64, 64\] does not fit"):
        fit_to_memory(fixed, voxels, partial(below, 10), grow=False)
