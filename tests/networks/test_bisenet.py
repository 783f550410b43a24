"""BiSeNet, v1 and v2."""

from __future__ import annotations

import pytest
import torch

from medseg.networks.bisenet import BiSeNet
from medseg.networks.bisenetv2 import BiSeNetV2
from medseg.networks.encoders.bilateral_parts import Aggregate

TINY = {"in_channels": 1, "num_classes": 3, "width": 0.125}


def test_the_boosters_of_v2_make_it_14_80():
    with torch.device("meta"):
        network = BiSeNetV2(ndim=2, in_channels=3, num_classes=19)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 14.80
    assert len(network.aux) == 4


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize(("build", "sizes"), [(BiSeNet, [8, 4]), (BiSeNetV2, [16, 8, 4, 2])])
def test_auxiliary_heads_have_weight_one(build, sizes, ndim):
    network = build(ndim=ndim, **TINY)
    assert network.divisor == (32,) * ndim
    out = network.train()(torch.randn(1, 1, *(64,) * ndim))
    assert [x.shape[-1] for x in out.aux] == sizes
    assert out.aux_weights == (1.0,) * len(sizes)


@pytest.mark.parametrize("ndim", [2, 3])
def test_paths_of_v1(ndim):
    torch.manual_seed(0)
    paths = BiSeNet(ndim=ndim, **TINY).encoder.eval()
    image = torch.randn(1, 1, *(64,) * ndim)
    high, low, fused = paths(image)
    assert (high.shape[-1], low.shape[-1], fused.shape[-1]) == (8, 4, 8)
    spatial = paths.spatial(image)
    both = paths.fuse(torch.cat((spatial, high), dim=1))
    gate = paths.gate[2](paths.gate[1](both.mean(tuple(range(2, 2 + ndim)), keepdim=True)))
    torch.testing.assert_close(fused, both * (1 + gate.sigmoid()))


@pytest.mark.parametrize("ndim", [2, 3])
def test_each_branch_of_v2_gates_the_other(ndim):
    torch.manual_seed(0)
    join = Aggregate(ndim, 4, ((2,) * ndim,) * 2, (3,) * ndim, "batch").eval()
    join.fuse = torch.nn.Identity()
    detail, context = torch.randn(1, 4, *(8,) * ndim), torch.randn(1, 4, *(2,) * ndim)
    up = torch.nn.Upsample(scale_factor=4, mode={2: "bilinear", 3: "trilinear"}[ndim])
    fine = join.detail(detail) * torch.sigmoid(up(join.context_up(context)))
    coarse = join.detail_down(detail) * torch.sigmoid(join.context(context))
    torch.testing.assert_close(join(detail, context), fine + up(coarse))
