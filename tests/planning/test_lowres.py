from __future__ import annotations

from math import ceil, log, prod

import pytest

from medseg.planning.capacity import GpuCapacity
from medseg.planning.lowres import patch_share, plan_low_resolution
from medseg.planning.patch import plan_patch
from medseg.planning.topology import Topology


def at_8_gb(spacing, shape, classes=3):
    gpu = GpuCapacity()
    return plan_patch(spacing, shape, lambda t: gpu.too_large(t, classes))


def fixed(*sides):
    one = (1,) * len(sides)
    return lambda _spacing, _shape: Topology(patch_size=sides, strides=(one,), kernels=(one,))


def test_liver_is_the_configuration_of_the_paper():
    # the paper gives 2.47 x 1.9 x 1.9 mm, from growth by 1 %; by 3 % the next step is 1.03^31
    low = plan_low_resolution((1, 0.7676, 0.7676), (482, 512, 512), at_8_gb)
    steps = ceil(log((482 * 512 * 512 / (4 * 128**3)) ** (1 / 3)) / log(1.03))
    assert steps == 31
    assert low.spacing == pytest.approx([1.03**31, 0.7676 * 1.03**31, 0.7676 * 1.03**31])
    assert low.shape == (193, 205, 205)
    assert low.covered == pytest.approx(128**3 / (482 * 512 * 512) * 1.03**93)


def test_one_step_by_hand():
    # 10 of 42 voxels are 23.8 %; after a step 42 / 1.03 = 40.8 (24.5 %), then 39.6 (25.3 %)
    low = plan_low_resolution((1.0, 1.0), (42, 1), fixed(10, 1))
    assert low is None  # 1.03^4 = 1.13: no gain worth a network
    low = plan_low_resolution((1.0, 1.0), (400, 400), fixed(100, 100))
    steps = ceil(log(2) / log(1.03))
    assert low.spacing == pytest.approx((1.03**steps,) * 2)


def test_finer_axes_grow_first():
    low = plan_low_resolution((4.0, 1.0, 1.0), (64, 400, 400), fixed(32, 192, 192))
    assert low.spacing[0] == 4.0
    assert 1 < low.spacing[1] == low.spacing[2] <= 2.0 * 1.03


@pytest.mark.parametrize(
    ("spacing", "shape"),
    [((1, 1, 1), (36, 50, 35)), ((5, 1.5625, 1.5625), (18, 237, 208)), ((1, 1), (64, 64))],
)
def test_a_patch_that_sees_enough_needs_none(spacing, shape):
    assert plan_low_resolution(spacing, shape, at_8_gb) is None


@pytest.mark.parametrize(
    ("spacing", "shape"),
    [((1, 1, 1), (600, 500, 400)), ((5, 0.8, 0.8), (120, 512, 512)), ((0.3, 0.3), (6000, 6000))],
)
def test_the_low_grid_is_covered_and_at_most_half_as_large(spacing, shape):
    low = plan_low_resolution(spacing, shape, at_8_gb)
    assert low.covered >= 0.25
    assert prod(low.shape) <= prod(shape) / 1.9
    assert all(new >= old for new, old in zip(low.spacing, spacing, strict=True))


def test_share_by_hand():
    assert patch_share((10, 10), (20, 10)) == 0.5
