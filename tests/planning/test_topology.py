from __future__ import annotations

import pytest

from medseg.planning.topology import plan_topology, strided_topology


def test_isotropic_by_hand():
    # 36 -> 18 -> 9 -> 5 and 50 -> 25 -> 13 -> 7: a fourth pooling needs 8 voxels
    topology = plan_topology((36, 50, 35), (1, 1, 1))
    assert topology.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert topology.divisor == (8, 8, 8)
    assert topology.patch_size == (40, 56, 40)


def test_a_coarse_axis_waits_until_the_others_are_as_coarse():
    topology = plan_topology((64, 64, 16), (1.0, 1.0, 4.0))
    assert topology.strides[1:3] == ((2, 2, 1), (2, 2, 1))  # 1 -> 2 -> 4 mm
    assert topology.strides[3] == (2, 2, 2)
    assert topology.kernels[:3] == ((3, 3, 1), (3, 3, 1), (3, 3, 3))
    assert topology.kernels[-1] == (3, 3, 3)


def test_one_axis_alone_needs_twelve_voxels():
    assert len(plan_topology((11, 4), (1, 1)).strides) == 1
    assert len(plan_topology((12, 4), (1, 1)).strides) == 2


def test_levels_can_be_limited_and_forced():
    assert len(plan_topology((64, 64, 64), (1, 1, 1), max_levels=3).strides) == 3
    forced = plan_topology((8, 8, 8), (1, 1, 1), min_levels=4, max_levels=4)
    assert forced.strides == ((1, 1, 1), (2, 2, 2), (1, 1, 1), (1, 1, 1))
    assert len(forced.kernels) == 4


def test_exact_never_pads():
    topology = plan_topology((20, 28), (1, 1), exact=True)
    assert topology.patch_size == (20, 28)
    assert topology.divisor == (4, 4)  # 20 -> 10 -> 5: odd


@pytest.mark.parametrize("size", [(1, 1, 1), (7, 9), (33, 65, 129), (512, 512)])
def test_the_patch_only_grows_to_a_multiple_of_the_divisor(size):
    topology = plan_topology(size, (1.0,) * len(size))
    for side, want, divisor in zip(topology.patch_size, size, topology.divisor, strict=True):
        assert side % divisor == 0
        assert 0 <= side - want < divisor


def test_given_strides():
    topology = strided_topology((30, 30), ((1, 1), (2, 4)))
    assert topology.patch_size == (30, 32)
    assert topology.kernels == ((3, 3), (3, 3))
