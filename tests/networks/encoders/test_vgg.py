from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.networks.encoders import build_encoder
from medseg.networks.encoders.vgg import VGG

CHANNELS = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512


@pytest.mark.parametrize(("name", "more"), [("vgg16", 0), ("vgg16_bn", CHANNELS)])
def test_parameters_are_those_of_the_published_convolutions(name, more):
    with torch.device("meta"):
        encoder = build_encoder(name, ndim=2, in_channels=3)
    # the normalised form has a factor and a summand for each bias
    assert sum(p.numel() for p in encoder.parameters()) == 14714688 + more


@pytest.mark.parametrize("ndim", [2, 3])
def test_equal_to_a_plain_row_of_layers(ndim):
    torch.manual_seed(0)
    encoder = VGG(ndim=ndim, in_channels=2, width=0.0625)
    conv = {2: nn.functional.conv2d, 3: nn.functional.conv3d}[ndim]
    pool = {2: nn.functional.max_pool2d, 3: nn.functional.max_pool3d}[ndim]
    parameters = iter(encoder.parameters())
    image = x = torch.randn(1, 2, *(32,) * ndim)
    for count, got in zip((2, 2, 3, 3, 3), encoder(image), strict=True):
        for _ in range(count):
            x = conv(x, next(parameters), next(parameters), padding=1).relu()
        x = pool(x, 2)
        torch.testing.assert_close(got, x)


def test_an_output_stride_dilates_what_follows_the_pooling():
    encoder = VGG(ndim=2, in_channels=1, width=0.0625, output_stride=8)
    rates = [stage[0][0].dilation for stage in encoder.stages]
    assert rates == [(1, 1)] * 4 + [(2, 2)]
    assert encoder.dilation == (4, 4)
    assert encoder(torch.zeros(1, 1, 32, 32))[-1].shape[2:] == (4, 4)
