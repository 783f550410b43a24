from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.networks.gcn import GCN

TINY = {"in_channels": 1, "num_classes": 3, "encoder": "resnet18", "width": 0.125}


def test_parameter_count_by_hand():
    with torch.device("meta"):
        network = GCN(ndim=2, in_channels=3, num_classes=21)
    total = sum(p.numel() for p in network.head.parameters())
    levels, c, k = (256, 512, 1024, 2048), 21, 15
    large = sum(2 * (k * g * c + k * c * c + 2 * c) for g in levels)
    refine = 9 * 2 * (9 * c * c + c)  # four levels and five steps up
    ups = 5 * 16 * c * c
    assert total == large + refine + ups
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 60.72


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_large_kernel_is_a_row_of_strips_from_each_axis_on(ndim):
    network = GCN(ndim=ndim, large_kernel=5, **TINY)
    large = network.head.scores[0][0]
    found = [[conv.kernel_size.index(5) for conv in row] for row in large.rows]
    assert found == {2: [[0, 1], [1, 0]], 3: [[0, 1, 2], [1, 2, 0], [2, 0, 1]]}[ndim]


def test_a_large_kernel_reaches_as_far_as_it_is_long():
    torch.manual_seed(0)
    large = GCN(ndim=2, large_kernel=5, **TINY).head.scores[0][0]
    x = torch.zeros(1, 8, 9, 9)
    x[..., 4, 4] = 1
    reached = (large(x) - large(torch.zeros_like(x)))[0, 0] != 0
    wanted = torch.zeros(9, 9, dtype=torch.bool)
    wanted[2:7, 2:7] = True
    assert torch.equal(reached, wanted)


def test_scores_are_summed_on_the_way_up_to_the_image():
    network = GCN(ndim=2, **TINY)
    sizes = []
    for refine in network.head.refine:
        refine.register_forward_hook(lambda m, i, out: sizes.append(out.shape[-1]))
    assert network.head(network.encoder(torch.zeros(1, 1, 64, 64))).shape == (1, 3, 64, 64)
    assert sizes == [4, 8, 16, 32, 64]


def test_a_thin_axis_is_left_alone():
    torch.manual_seed(0)
    axes = {"strides": ((1, 2, 2),) * 5, "kernel_sizes": ((1, 3, 3),) * 5}
    network = GCN(ndim=3, large_kernel=5, **TINY, **axes).eval()
    image = torch.randn(1, 1, 3, 64, 64)
    one_by_one = torch.cat([network(part) for part in image.split(1, dim=2)], dim=2)
    torch.testing.assert_close(network(image), one_by_one, atol=1e-4, rtol=1e-4)
    assert isinstance(network.head.ups[0], nn.ConvTranspose3d)


def test_even_kernels_are_refused():
    with pytest.raises(ConfigError, match=r"network\.arguments\.large_kernel is 4"):
        GCN(ndim=2, large_kernel=4, **TINY)
