from __future__ import annotations

from math import prod

import pytest

from medseg.planning.capacity import CpuCapacity, GpuCapacity, capacity_of
from medseg.planning.patch import coverage_cap, plan_patch, unet_activations
from medseg.planning.topology import Topology, plan_topology

# nnU-Net 2.8's own plans (spacing and shape with the coarse axis first), from planning.md
NNUNET = [
    ("hippocampus", (1, 1, 1), (36, 50, 35), 260, 3, (40, 56, 40), 9, (56, 40), 366),
    ("liver", (1, 0.7676, 0.7676), (482, 512, 512), 131, 3, (128,) * 3, 2, (512, 512), 12),
    ("spleen", (1.6, 0.793, 0.793), (187, 512, 512), 41, 2, (64, 192, 160), 2, (512, 512), 12),
    ("prostate", (3.6, 0.625, 0.625), (20, 320, 319), 32, 3, (20, 320, 256), 2, (320, 320), 32),
    ("brats", (1, 1, 1), (138, 170, 138), 484, 4, (128,) * 3, 2, (192, 160), 105),
    ("acdc", (5, 1.5625, 1.5625), (18, 237, 208), 200, 4, (20, 256, 224), 4, (256, 224), 56),
]


@pytest.mark.parametrize("vector", NNUNET, ids=lambda v: v[0])
def test_gpu_plans_are_those_of_nnunet(vector):
    _, spacing, shape, cases, classes, patch, batch, patch_2d, batch_2d = vector
    gpu = GpuCapacity()
    topology = plan_patch(spacing, shape, lambda t: gpu.too_large(t, classes))
    assert topology.patch_size == patch
    assert gpu.batch_size(topology, classes, shape, cases) == batch
    flat = plan_patch(spacing[1:], shape[1:], lambda t: gpu.too_large(t, classes))
    assert flat.patch_size == patch_2d
    assert gpu.batch_size(flat, classes, shape, cases) == batch_2d


def test_the_first_kernel_of_spleen_is_flat():
    gpu = GpuCapacity()
    topology = plan_patch((1.6, 0.793, 0.793), (187, 512, 512), lambda t: gpu.too_large(t, 2))
    assert topology.kernels[0] == (1, 3, 3)


def test_activations_by_hand():
    topology = Topology(patch_size=(8, 8), strides=((1, 1), (2, 2)), kernels=((3, 3), (3, 3)))
    # level 0: 2 + 3 convolutions of 4 channels on 64; bottleneck: 2 of 6 on 16; head: 3 on 64
    assert unet_activations(topology, (4, 6), 3) == 5 * 4 * 64 + 2 * 6 * 16 + 3 * 64


def test_coverage_by_hand():
    assert coverage_cap((10, 10), (20, 10), 10, 0.05) == 1  # 0.05 * 200 * 10 / 100


def test_cpu_takes_hippocampus_whole():
    cpu = CpuCapacity()
    topology = plan_patch((1, 1, 1), (35, 50, 36), lambda t: cpu.too_large(t, 3))
    assert topology.patch_size == (40, 56, 40)
    assert cpu.batch_size(topology, 3, (35, 50, 36), 166) == 8
    assert cpu.widths(len(topology.strides), 3) == (12, 48, 96, 192)


@pytest.mark.parametrize(
    ("spacing", "shape"),
    [
        ((1.0, 1.0, 1.0), (350, 250, 300)),
        ((0.8, 0.8, 5.0), (400, 400, 40)),
        ((1.0, 1.0), (480, 360)),
    ],
)
def test_cpu_stays_in_its_budget_and_uses_it(spacing, shape):
    cpu = CpuCapacity()
    topology = plan_patch(spacing, shape, lambda t: cpu.too_large(t, 2))
    voxels = prod(topology.patch_size)
    assert min(48**3, prod(shape)) / 2 <= voxels <= 48**3
    assert 2 <= cpu.batch_size(topology, 2, shape, 10) <= 64
    assert voxels * cpu.batch_size(topology, 2, shape, 10) <= 800_000


def test_a_budget_that_nothing_fits_ends_with_the_smallest_patch():
    topology = plan_patch((1, 1), (64, 64), lambda _: True)
    assert topology.patch_size == tuple(topology.divisor)


def test_a_needle_keeps_its_single_voxels():
    topology = plan_patch((1, 1, 1), (1, 1, 900), lambda _: False)
    assert topology.patch_size == (1, 1, 256)


def test_levels_of_the_cpu_network_are_limited():
    topology = plan_topology((512, 512), (1, 1), max_levels=CpuCapacity().max_levels)
    assert len(topology.strides) == 5
    assert len(CpuCapacity().widths(5, 2)) == 5


def test_any_accelerator_counts_as_one():
    assert isinstance(capacity_of("cpu"), CpuCapacity)
    assert isinstance(capacity_of("cuda:1"), GpuCapacity)
