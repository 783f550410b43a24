from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.networks.segnet import SegNet, SegNetBasic


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


@pytest.mark.parametrize("classes", [11, 19])
def test_parameter_count_of_the_reference_form(classes):
    with torch.device("meta"):
        network = SegNet(ndim=2, in_channels=3, num_classes=classes)
    assert round(millions(network), 2) == 29.45


def test_parameter_count_in_3d_and_of_the_basic_form():
    with torch.device("meta"):
        assert round(millions(SegNet(ndim=3, in_channels=3, num_classes=19)), 1) == 88.3
        basic = SegNetBasic(ndim=2, in_channels=3, num_classes=11)
    convs = (3 * 64 + 3 * 64 * 64 + 4 * 64 * 64) * 49
    norms, classifier = 8 * 2 * 64, 64 * 11 + 11
    assert sum(p.numel() for p in basic.parameters()) == convs + norms + classifier


def test_thirteen_convolutions_down_and_thirteen_up():
    with torch.device("meta"):
        network = SegNet(ndim=2, in_channels=3, num_classes=11)
    down = [m for m in network.encoder.modules() if isinstance(m, nn.Conv2d)]
    up = [m for m in network.decoder.modules() if isinstance(m, nn.Conv2d)]
    vgg16 = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    assert [c.out_channels for c in down] == vgg16
    mirrored = [(c.out_channels, c.in_channels) for c in down][1:]
    assert sorted((c.in_channels, c.out_channels) for c in up) == sorted(mirrored)
    assert (network.head.in_channels, network.head.out_channels) == (64, 11)
    assert all(c.bias is not None for c in (*down, *up))


@pytest.mark.parametrize("ndim", [2, 3])
def test_values_return_to_the_places_they_came_from(ndim):
    """With convolutions that pass their input on, the network keeps each window's maximum."""
    network = SegNet(
        ndim=ndim, in_channels=1, num_classes=1, widths=(1,), convs=1, kernel_size=1, norm="none"
    )
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.ones_(module.weight)
    image = 0.1 + torch.rand(1, 1, *(5,) * ndim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = network(image)
    full = nn.functional.pad(image, (0, 1) * ndim, mode="replicate")
    peak = {2: nn.functional.max_pool2d, 3: nn.functional.max_pool3d}[ndim](full, 2)
    for axis in range(2, 2 + ndim):
        peak = peak.repeat_interleave(2, axis).narrow(axis, 0, 5)
    assert torch.equal(out, torch.where(image == peak, image, 0.0))
    assert (out > 0).sum() == 3**ndim  # one in each window


@pytest.mark.parametrize("build", [SegNet, SegNetBasic])
def test_a_thin_axis_is_left_alone(build):
    torch.manual_seed(0)
    network = build(
        ndim=3,
        in_channels=1,
        num_classes=2,
        widths=(4, 4),
        strides=((1, 2, 2), (1, 2, 2)),
        kernel_size=(1, 3, 3),
    ).eval()
    assert network.divisor == (1, 4, 4)
    image = torch.randn(1, 1, 2, 8, 8)
    slices = torch.cat([network(image[:, :, i : i + 1]) for i in range(2)], dim=2)
    torch.testing.assert_close(network(image), slices, atol=1e-5, rtol=1e-4)


def test_basic_has_no_relu_on_the_way_up():
    network = SegNetBasic(ndim=2, in_channels=3, num_classes=2, widths=(4, 4))
    assert not [m for m in network.decoder.modules() if isinstance(m, nn.ReLU)]
    assert len([m for m in network.encoder.modules() if isinstance(m, nn.ReLU)]) == 2


def test_no_levels_are_refused():
    with pytest.raises(ConfigError, match=r"network\.arguments\.widths"):
        SegNet(ndim=2, in_channels=1, num_classes=2, widths=())
