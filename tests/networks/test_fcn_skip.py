from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medseg.networks.fcn_skip import FCN8s, FCN16s, FCN32s, interpolating


def test_parameters_by_hand():
    vgg, classes = 14714688, 21
    dense = 512 * 49 * 4096 + 4096 + 4096 * 4096 + 4096
    score = (4096 + 1) * classes
    pools = {FCN32s: (), FCN16s: (512,), FCN8s: (512, 256)}
    kernels = {FCN32s: (64,), FCN16s: (4, 32), FCN8s: (4, 4, 16)}
    for build, finer in pools.items():
        with torch.device("meta"):
            network = build(ndim=2, in_channels=3, num_classes=classes)
        expected = vgg + dense + score + sum((c + 1) * classes for c in finer)
        expected += sum(classes**2 * k**2 for k in kernels[build])
        assert sum(p.numel() for p in network.parameters()) == expected
        assert tuple(up.kernel_size[0] for up in network.head.ups) == kernels[build]


@pytest.mark.parametrize("factor", [(2, 2), (3, 3), (2, 3), (8, 1), (2, 1, 4)])
def test_transposed_convolutions_start_as_linear_interpolation(factor):
    torch.manual_seed(0)
    up = interpolating(len(factor), 2, factor)
    x = torch.rand(1, 2, *(5,) * len(factor))
    wanted = functional.interpolate(
        x, scale_factor=tuple(map(float, factor)), mode={2: "bilinear", 3: "trilinear"}[len(factor)]
    )
    got = up(x)
    assert got.shape == wanted.shape
    inner = (..., *(slice(f, -f) for f in factor))  # the border sees zeros outside
    torch.testing.assert_close(got[inner], wanted[inner])


@pytest.mark.parametrize("ndim", [2, 3])
def test_scores_of_finer_poolings_are_added(ndim):
    torch.manual_seed(0)
    network = FCN8s(ndim=ndim, in_channels=1, num_classes=2, width=0.0625, kernel_size=3).eval()
    head = network.head
    maps = network.encoder(torch.rand(1, 1, *(64,) * ndim))
    x = head.scores[0](head.deep(maps[4]))  # stride 32
    x = head.ups[0](x) + head.scores[1](maps[3])
    x = head.ups[1](x) + head.scores[2](maps[2])
    torch.testing.assert_close(head(maps), head.ups[2](x))
    assert x.shape[2:] == (8,) * ndim
