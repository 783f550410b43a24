from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.networks.encoders import build_encoder
from medseg.networks.encoders.xception import Block, Xception

CLASSIFIER = 2048 * 1000 + 1000


@pytest.mark.parametrize(("name", "published"), [("xception41", 27.0), ("xception65", 39.9)])
def test_parameters_are_those_of_the_published_networks(name, published):
    with torch.device("meta"):
        encoder = build_encoder(name, ndim=2, in_channels=3)
    total = sum(p.numel() for p in encoder.parameters()) + CLASSIFIER
    assert round(total / 1e6, 1) == published


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_dilated_network_holds_the_strided_one_on_every_fourth_voxel(ndim):
    torch.manual_seed(0)
    options = {"ndim": ndim, "in_channels": 1, "middle": 1, "width": 0.0625}
    strided = Xception(**options).eval()
    dilated = Xception(**options, output_stride=8).eval()
    dilated.load_state_dict(strided.state_dict())
    image = torch.randn(1, 1, *(64,) * ndim)
    coarse, fine = strided(image)[-1], dilated(image)[-1]
    assert fine.shape[2:] == (8,) * ndim
    every_fourth = fine[(..., *(slice(None, None, 4),) * ndim)]
    torch.testing.assert_close(every_fourth, coarse, atol=1e-5, rtol=1e-4)


def test_a_block_adds_its_input_to_three_separable_convolutions():
    torch.manual_seed(0)
    block = Block(2, 4, (4, 4, 4), (3, 3), (1, 1), (1, 1), "batch").eval()
    x = torch.randn(1, 4, 5, 5)
    y = x
    weights = [m.weight for m in block.modules() if isinstance(m, nn.Conv2d)]
    for depthwise, pointwise in zip(weights[::2], weights[1::2], strict=True):
        y = nn.functional.conv2d(y.relu(), depthwise, padding=1, groups=4) / (1 + 1e-5) ** 0.5
        y = nn.functional.conv2d(y, pointwise) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(block(x), x + y)


def test_the_second_map_is_that_before_the_stride_of_the_second_block():
    encoder = Xception(ndim=2, in_channels=1, middle=1, width=0.125).eval()
    seen = []
    encoder.second.inner.register_forward_hook(lambda m, i, out: seen.append(out))
    maps = encoder(torch.randn(1, 1, 32, 32))
    assert maps[1] is seen[0]
    assert maps[1].shape == (1, 32, 8, 8)
