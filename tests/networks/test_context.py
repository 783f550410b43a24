from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional

from medseg.networks.context.acm import AdaptiveContext
from medseg.networks.context.aspp import ASPP
from medseg.networks.context.dcm import DynamicFilter
from medseg.networks.context.encoding import Encoding
from medseg.networks.context.ocr import ObjectContext
from medseg.networks.context.ppm import PyramidPooling
from medseg.networks.context.psa import PointwiseAttention
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


@BOTH
def test_adaptive_context_sums_regions_with_the_weights_of_each_voxel(ndim):
    torch.manual_seed(0)
    module = AdaptiveContext(ndim, 3, 4, bins=2, norm="none").eval()
    x = torch.rand(2, 3, *(4,) * ndim)
    y = module.reduce(x)
    regions = module.regions(x).flatten(2)  # (B, C, S)
    weights = module.affinity(y + module.whole(y)).sigmoid().flatten(2)
    context = torch.zeros_like(y.flatten(2))
    for voxel in range(context.shape[2]):
        for region in range(2**ndim):
            share = weights[:, region, voxel, None]
            context[:, :, voxel] += share * regions[:, :, region]
    wanted = module.fuse((module.transform(context.reshape(y.shape)) + y).relu())
    torch.testing.assert_close(module(x), wanted)


@BOTH
def test_dynamic_filters_are_those_of_each_case_and_channel(ndim):
    torch.manual_seed(0)
    module = DynamicFilter(ndim, 3, 2, size=(3,) * ndim, norm="none").eval()
    x = torch.randn(2, 3, *(5,) * ndim)
    filters, y, out = module.filters(x), module.reduce(x), module(x)
    conv = {2: functional.conv2d, 3: functional.conv3d}[ndim]
    for case in range(2):
        for channel in range(2):
            one = y[case, channel][None, None]
            wanted = conv(one, filters[case, channel][None, None], padding=1)[0, 0].relu()
            torch.testing.assert_close(out[case, channel], wanted)


@BOTH
def test_encoding_is_the_sum_of_softly_assigned_residuals(ndim):
    torch.manual_seed(0)
    module = Encoding(2, 3)
    x = torch.randn(2, 2, *(2,) * ndim)
    wanted = torch.zeros(2, 3, 2)
    for case, voxels in enumerate(x.flatten(2)):
        for voxel in voxels.T:
            residuals = voxel - module.codewords
            share = (module.scale * residuals.square().sum(1)).softmax(0)
            wanted[case] += share[:, None] * residuals
    torch.testing.assert_close(module(x), wanted)


@pytest.mark.parametrize("grid", [(2, 3), (2, 1, 3)])
def test_point_wise_attention_by_loops(grid):
    torch.manual_seed(0)
    ndim, mask = len(grid), 5
    options = {"kernel": (1,) * ndim, "norm": "none", "mask": mask, "shrink": 1}
    module = PointwiseAttention(ndim, 2, 3, **options).eval()
    x = torch.randn(1, 2, *grid)
    places = list(product(*(range(n) for n in grid)))
    collected, spread = [f(x) for f in module.reduce]
    weights = [
        f(y)[0].reshape(*(mask,) * ndim, *grid)
        for f, y in zip(module.offsets, (collected, spread), strict=True)
    ]

    def offset(here, there):
        return tuple(t - h + mask // 2 for h, t in zip(here, there, strict=True))

    both = torch.zeros(1, 6, *grid)
    for here in places:
        own = torch.stack([weights[0][(*offset(here, p), *here)] for p in places]).softmax(0)
        told = torch.stack([weights[1][(*offset(p, here), *p)] for p in places]).softmax(0)
        for place, a, b in zip(places, own, told, strict=True):
            both[(0, slice(0, 3), *here)] += a * collected[(0, slice(None), *place)]
            both[(0, slice(3, 6), *here)] += b * spread[(0, slice(None), *place)]
    wanted = module.fuse(torch.cat((x, module.project(both)), dim=1))
    torch.testing.assert_close(module(x), wanted)


def test_point_wise_attention_shrinks_to_what_its_offsets_reach():
    module = PointwiseAttention(2, 2, 2, kernel=(1, 1), norm="none", mask=5, shrink=2)
    sizes = []
    module.project.register_forward_hook(lambda m, i, out: sizes.append(tuple(out.shape[2:])))
    for size in ((4, 6), (40, 5), (1, 2)):
        assert module(torch.rand(1, 2, *size)).shape == (1, 2, *size)
    assert sizes == [(2, 3), (3, 3), (1, 2)]


@BOTH
def test_object_context_by_loops(ndim):
    torch.manual_seed(0)
    module = ObjectContext(ndim, 3, inner=2, norm="none").eval()
    x, logits = torch.randn(1, 3, *(2,) * ndim), torch.randn(1, 4, *(2,) * ndim)
    voxels, shares = x[0].flatten(1).T, logits[0].flatten(1).softmax(1)
    objects = torch.stack([(share[:, None] * voxels).sum(0) for share in shares])  # (K, C)

    def through(layers, vectors):
        return layers(vectors.T.reshape(1, -1, len(vectors), *(1,) * (ndim - 1))).flatten(2)[0].T

    query, key = through(module.query, voxels), through(module.key, objects)
    value = through(module.value, objects)
    context = torch.stack([((key @ q / 2**0.5).softmax(0)[:, None] * value).sum(0) for q in query])
    seen = module.spread(context.T.reshape(1, 2, *(2,) * ndim))
    torch.testing.assert_close(module(x, logits), module.fuse(torch.cat((seen, x), dim=1)))
