from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from medseg.networks.context.aspp import ASPP
from medseg.networks.context.ppm import PyramidPooling
from medseg.networks.layers import PooledUnit

BOTH = pytest.mark.parametrize("ndim", [2, 3])


@BOTH
def test_pyramid_pooling_sees_the_means_of_its_regions(ndim):
    module = PyramidPooling(ndim, 1, 1, bins=(1, 2), kernel=(1,) * ndim, norm="none")
    for branch in module.branches:
        nn.init.ones_(branch[1].weight)
    nn.init.zeros_(module.fuse[0].bias)
    nn.init.zeros_(module.fuse[0].weight)
    x = torch.arange(4.0).expand(1, 1, *(4,) * ndim)
    with torch.no_grad():
        module.fuse[0].weight[0, 1] = 1  # only the branch of one region
    torch.testing.assert_close(module(x), torch.full_like(x, 1.5))
    with torch.no_grad():
        module.fuse[0].weight[0, 1:] = torch.tensor([0.0, 1.0]).view(2, *(1,) * ndim)
    # regions 0.5 and 2.5, interpolated from 2 to 4
    wanted = torch.tensor([0.5, 1.0, 2.0, 2.5]).expand_as(x)
    torch.testing.assert_close(module(x), wanted)


@BOTH
def test_a_pooled_branch_has_as_many_parameters_as_with_batch_norm_and_needs_no_batch(ndim):
    unit = PooledUnit(ndim, 6, 4, bins=1).train()
    assert sum(p.numel() for p in unit.parameters()) == 6 * 4 + 2 * 4
    x = torch.rand(1, 6, *(3,) * ndim)
    mean = x.flatten(2).mean(-1)
    wanted = (mean @ unit[1].weight.flatten(1).T).relu()
    torch.testing.assert_close(unit(x).flatten(1), wanted)


@BOTH
def test_a_rate_past_the_map_is_a_1x1_convolution(ndim):
    torch.manual_seed(0)
    module = ASPP(ndim, 2, 3, rates=(9,), kernel=(3,) * ndim, norm="none")
    dilated = module.branches[1][0]
    x = torch.rand(1, 2, *(5,) * ndim)
    centre = dilated.weight[(..., *(slice(1, 2),) * ndim)]
    conv = {2: functional.conv2d, 3: functional.conv3d}[ndim]
    torch.testing.assert_close(dilated(x), conv(x, centre, dilated.bias))


def test_aspp_fuses_all_branches():
    module = ASPP(2, 8, 4, rates=(6, 12, 18), kernel=(3, 3), norm="batch", separable=True)
    assert module.fuse[0].in_channels == 5 * 4
    assert [len(branch) for branch in module.branches[1:]] == [2, 2, 2]
    assert module.eval()(torch.rand(1, 8, 7, 5)).shape == (1, 4, 7, 5)
