from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from medseg.networks.unet_2015 import UNet2015


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("ndim", "millions", "digits"), [(2, 31.03, 2), (3, 90.3, 1)], ids=["2d", "3d"]
)
def test_parameter_count_of_the_reference_form(ndim, millions, digits):
    with torch.device("meta"):
        network = UNet2015(ndim=ndim, in_channels=1, num_classes=2)
    assert round(count(network) / 1e6, digits) == millions


def test_forward_equals_figure_1_written_out():
    torch.manual_seed(0)
    network = UNet2015(ndim=2, in_channels=1, num_classes=2, widths=(2, 3, 4)).eval()
    weights = list(network.encoder) + list(network.decoder)

    def convs(x: torch.Tensor, at: int) -> torch.Tensor:
        for layer in weights[at]:
            if isinstance(layer, nn.Conv2d):
                x = functional.relu(functional.conv2d(x, layer.weight, layer.bias, padding=1))
        return x

    def up(x: torch.Tensor, level: int) -> torch.Tensor:
        layer = network.ups[level]
        return functional.conv_transpose2d(x, layer.weight, layer.bias, stride=2)

    image = torch.randn(1, 1, 12, 8)
    fine = convs(image, 0)
    middle = convs(functional.max_pool2d(fine, 2), 1)
    x = convs(functional.max_pool2d(middle, 2), 2)
    x = convs(torch.cat((middle, up(x, 1)), 1), 4)
    x = convs(torch.cat((fine, up(x, 0)), 1), 3)
    expected = functional.conv2d(x, network.head.weight, network.head.bias)
    torch.testing.assert_close(network(image), expected, atol=1e-5, rtol=1e-4)


def test_no_norm_two_convolutions_per_level_and_dropout_at_the_end_of_the_way_down():
    network = UNet2015(ndim=2, in_channels=1, num_classes=2, widths=(2,) * 5)
    kernels = [m.kernel_size for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [(3, 3)] * 18 + [(1, 1)]
    assert not [m for m in network.modules() if "Norm" in type(m).__name__]
    dropped = [any(isinstance(m, nn.Dropout) for m in level) for level in network.encoder]
    assert dropped == [False, False, False, True, True]
    assert not [m for m in network.decoder.modules() if isinstance(m, nn.Dropout)]


def test_one_level_is_a_plain_row_of_convolutions():
    network = UNet2015(ndim=3, in_channels=1, num_classes=2, widths=(4,), dropout=0.0)
    assert network(torch.zeros(1, 1, 5, 3, 2)).shape == (1, 2, 5, 3, 2)
