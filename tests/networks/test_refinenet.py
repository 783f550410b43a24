from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.networks.refinenet import RefineNet

TINY = {"in_channels": 1, "num_classes": 3, "encoder": "resnet18", "width": 0.125}


def test_parameter_count_of_the_authors_form():
    with torch.device("meta"):
        network = RefineNet(ndim=2, in_channels=3, num_classes=21)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == 118


@pytest.mark.parametrize("ndim", [2, 3])
def test_four_blocks_from_coarse_to_a_quarter(ndim):
    network = RefineNet(ndim=ndim, **TINY).eval()
    sizes = []
    for block in network.head.blocks:
        block.register_forward_hook(lambda m, i, out: sizes.append(out.shape[-1]))
    maps = network.encoder(torch.zeros(1, 1, *(64,) * ndim))
    assert network.head(maps).shape == (1, 3, *(16,) * ndim)
    assert sizes == [2, 4, 8, 16]


def test_each_link_of_the_chain_pools_the_one_before():
    torch.manual_seed(0)
    block = RefineNet(ndim=2, pools=2, **TINY).head.blocks[0]
    for part in (block.adapt, block.out):
        for conv in part.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.zeros_(conv.weight)  # residual units pass their input on
    for pool in block.chain:
        nn.init.dirac_(pool[1][0].weight)
    x = torch.zeros(1, 64, 9, 9)
    x[..., 4, 4] = 1.0
    out = block(x, None)[0, 0, 4]
    # the voxel itself thrice, then two voxels each way twice, then two more once
    assert out.tolist() == [1, 1, 2, 2, 3, 2, 2, 1, 1]


def test_a_normalised_form_has_no_biases_within_its_blocks():
    blocks = RefineNet(ndim=2, head_norm="batch", **TINY).head.blocks
    assert not any(isinstance(m, nn.Conv2d) and m.bias is not None for m in blocks.modules())
