from __future__ import annotations

import pytest

from medseg.planning.planner import make_plan
from medseg.planning.probe import CPU_PROBE_FLOPS, probe_of
from medseg.planning.wishes import Wishes
from medseg.settings import NetworkSettings
from tests.planning.tiny import dataset

LARGE = dataset(spacings=((1.0,) * 3,) * 10, shapes=((300, 300, 300),) * 10)


def test_what_a_cpu_plans_is_measured_as_it_is():
    plan = make_plan(dataset(), Wishes(), "cpu")
    assert probe_of(plan, "cpu").plan is plan
    assert probe_of(plan, "cpu").factor == 1


def test_a_plan_for_a_gpu_is_measured_in_small_on_a_cpu(monkeypatch):
    plan = make_plan(LARGE, Wishes(network=NetworkSettings(preset="default")), "cpu")
    assert plan.patch_size == (128,) * 3
    probe = probe_of(plan, "cpu")
    small = probe.plan
    assert small.batch_size == 2
    voxels = small.patch_size[0] * small.patch_size[1] * small.patch_size[2]
    assert voxels < 128**3
    assert probe.factor == pytest.approx(128**3 / voxels)
    assert probe_of(plan, "cuda:0").plan is plan
    monkeypatch.setattr("medseg.planning.probe.forward_flops", lambda *_: CPU_PROBE_FLOPS * 2)
    assert min(probe_of(plan, "cpu").plan.patch_size) == 16  # and it ends there
