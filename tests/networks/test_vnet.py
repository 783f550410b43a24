from __future__ import annotations

import pytest
import torch
from monai.networks.nets import VNet as MonaiVNet
from torch import nn

from medseg.networks.vnet import VNet

MONAI_FORM = {"convs": (1, 1, 2, 3, 2), "decoder_convs": (1, 1, 2, 2)}


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def without_slopes(module: nn.Module) -> int:
    """Count parameters but those of PReLU, of which MONAI has one for all channels."""
    slopes = sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.PReLU))
    return sum(p.numel() for p in module.parameters()) - slopes


@pytest.mark.parametrize(("ndim", "expected"), [(2, 9.36), (3, 45.60)])
def test_parameter_count_of_the_reference_form(ndim, expected):
    ours = VNet(ndim=ndim, in_channels=1, num_classes=2, **MONAI_FORM)
    assert millions(ours) == pytest.approx(expected, abs=0.01)


def test_parameters_equal_those_of_monai_but_for_its_wider_end():
    ours = VNet(ndim=2, in_channels=1, num_classes=2, **MONAI_FORM)
    theirs = MonaiVNet(spatial_dims=2, in_channels=1, out_channels=2, act="prelu")
    end = (32 * 2 * 25 + 2 * 2 + 2) - (32 * 2 + 2) + 2 * 2  # a 5^2 convolution and its norm
    biases = 128 + 64 + 32 + 16  # of its transposed convolutions, before a norm
    assert without_slopes(theirs) - without_slopes(ours) == end + biases


def test_default_is_the_papers_row_of_convolutions():
    network = VNet(ndim=2, in_channels=1, num_classes=2)
    kernels = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (5, 5)]
    assert len(kernels) == (1 + 2 + 3 + 3 + 3) + (3 + 3 + 2 + 1)
    assert network.divisor == (16, 16)
    assert [m.out_channels for m in kernels[:3]] == [16, 32, 32]
    assert not [m for m in network.modules() if isinstance(m, (nn.ReLU, nn.LeakyReLU, nn.ELU))]


def test_a_stage_adds_its_input():
    network = VNet(ndim=2, in_channels=1, num_classes=2, widths=(2, 4), norm="none")
    stage = network.encoder[0]
    for layer in stage.layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
    x = torch.rand(1, 4, 5, 5)
    torch.testing.assert_close(stage(x), x)


def test_several_input_channels_are_not_repeated():
    network = VNet(ndim=3, in_channels=2, num_classes=2, widths=(4, 8), convs=1, decoder_convs=1)
    assert network(torch.rand(1, 2, 4, 4, 4)).shape == (1, 2, 4, 4, 4)
