"""nnU-Net's residual-encoder presets, and what the estimates count."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.networks.resenc import BLOCKS, ResEncUNet
from medseg.planning.capacity import CpuCapacity, GpuCapacity, capacity_of
from medseg.planning.patch import RESENC_BLOCKS, plan_patch, resenc_activations
from medseg.planning.presets import PRESETS
from medseg.planning.topology import Topology, plan_topology

# nnU-Net 2.8's own ResEnc L plans, from planning.md: spacing, shape, cases, classes, patch, batch
RESENC_L = [
    ("hippocampus", (1, 1, 1), (36, 50, 35), 260, 3, (40, 56, 40), 178),
    ("liver", (1, 0.7676, 0.7676), (482, 512, 512), 131, 3, (192,) * 3, 2),
    ("spleen", (1.6, 0.793, 0.793), (187, 512, 512), 41, 2, (80, 256, 256), 2),
    ("prostate", (3.6, 0.625, 0.625), (20, 320, 319), 32, 3, (20, 320, 320), 5),
    ("brats", (1, 1, 1), (138, 170, 138), 484, 4, (160, 192, 160), 3),
    ("acdc", (5, 1.5625, 1.5625), (18, 237, 208), 200, 4, (20, 256, 224), 10),
]


@pytest.mark.parametrize("vector", RESENC_L, ids=lambda v: v[0])
def test_resenc_l_plans_are_those_of_nnunet(vector):
    _, spacing, shape, cases, classes, patch, batch = vector
    large = GpuCapacity(preset=PRESETS["L"])
    topology = plan_patch(spacing, shape, lambda t: large.too_large(t, classes))
    assert topology.patch_size == patch
    assert large.batch_size(topology, classes, shape, cases) == batch


def test_the_blocks_that_are_planned_for_are_the_networks():
    assert RESENC_BLOCKS == BLOCKS == (1, 3, 4)


def test_resenc_activations_by_hand():
    topology = Topology(patch_size=(8, 8), strides=((1, 1), (2, 2)), kernels=((3, 3), (3, 3)))
    stem, head = 4 * 64, 3 * 64
    finest = 2 * 1 * 4 * 64 + 2 * 4 * 64  # one block; its decoder stage
    coarsest = (2 * 3 + 1) * 6 * 16  # three blocks and a projection
    assert resenc_activations(topology, (4, 6), 3) == stem + finest + coarsest + head


@pytest.mark.parametrize(
    ("patch", "spacing"), [((64, 48), (1, 1)), ((16, 32, 32), (3, 1, 1)), ((32, 32, 32), (1, 1, 1))]
)
def test_the_estimate_counts_what_the_convolutions_put_out(patch, spacing):
    topology = plan_topology(patch, spacing)
    widths = GpuCapacity().widths(len(topology.strides), len(patch))
    seen = []
    with torch.device("meta"):
        network = ResEncUNet(
            ndim=len(patch), in_channels=1, num_classes=3, widths=widths,
            strides=topology.strides, kernel_sizes=topology.kernels, deep_supervision=False,
        )  # fmt: skip
        for module in network.modules():
            if isinstance(module, nn.modules.conv._ConvNd):
                module.register_forward_hook(lambda _m, _i, out: seen.append(out.numel()))
        network(torch.zeros(1, 1, *patch))
    assert resenc_activations(topology, widths, 3) == sum(seen)


def test_what_a_preset_is_for():
    assert isinstance(capacity_of("cpu", "resenc_unet"), CpuCapacity)
    assert capacity_of("cuda:0", "resenc_unet").preset is PRESETS["M"]
    assert capacity_of("cuda:0").preset is PRESETS["default"]
    assert capacity_of("cuda:0", "segnet").preset is PRESETS["default"]
    assert capacity_of("cpu", "resenc_unet", "XL").preset is PRESETS["XL"]  # asked for


@pytest.mark.parametrize(
    ("network", "preset", "message"),
    [
        ("unet", "M", "does not fit network 'unet'; use auto or default; M, L and XL are for"),
        ("resenc_unet", "default", "use auto or M, L, XL"),
    ],
)
def test_a_preset_of_another_network_is_refused(network, preset, message):
    with pytest.raises(ConfigError, match=message):
        capacity_of("cuda:0", network, preset)


def test_more_memory_means_a_larger_patch_by_the_same_rule():
    small, large = GpuCapacity(memory=4), GpuCapacity(memory=24)
    liver = (1, 0.7676, 0.7676), (482, 512, 512)
    patches = [plan_patch(*liver, lambda t, c=c: c.too_large(t, 3)) for c in (small, large)]
    assert prod(patches[0].patch_size) < 128**3 < prod(patches[1].patch_size)
    assert GpuCapacity().scaled(3) == large
    assert "24 GB" in large.rule


def test_a_cpu_shrinks_and_never_grows():
    half = CpuCapacity().scaled(0.5)
    assert (half.patch_voxels, half.batch_voxels) == (48**3 // 2, 400_000)
    assert half.rule.startswith("at most 55 296 voxels a patch and 400 000 a batch")
    assert CpuCapacity().scaled(4) == CpuCapacity()
