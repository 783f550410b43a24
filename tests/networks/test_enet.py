from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.networks.enet import ENet

SMALL = {"filters": 3, "widths": (8, 16), "regular": 1, "repeats": 1, "dilations": (2, 3)}


def build(ndim: int = 2, **arguments) -> ENet:
    torch.manual_seed(0)
    return ENet(ndim=ndim, in_channels=1, num_classes=2, **{**SMALL, **arguments})


@pytest.mark.parametrize("classes", [11, 19])
def test_parameter_count_lies_in_the_quoted_range(classes):
    with torch.device("meta"):
        network = ENet(ndim=2, in_channels=3, num_classes=classes)
    assert 0.35e6 <= sum(p.numel() for p in network.parameters()) <= 0.37e6


def test_bottlenecks_are_those_of_table_1():
    with torch.device("meta"):
        network = ENet(ndim=2, in_channels=3, num_classes=11)
    assert network.initial.out_channels == 13
    assert (len(network.stage1), len(network.stage2)) == (4, 16)
    middles = [
        [m for m in block.modules() if isinstance(m, nn.Conv2d)][1:-1] for block in network.stage2
    ]
    eight = [1, 2, "strips", 4, 1, 8, "strips", 16]
    found = ["strips" if len(convs) == 2 else convs[0].dilation[0] for convs in middles]
    assert found == 2 * eight
    assert [c.kernel_size for c in middles[2]] == [(5, 1), (1, 5)]
    assert (len(network.stage4), len(network.stage5)) == (2, 1)
    shares = [m.p for m in network.modules() if isinstance(m, nn.Dropout2d)]
    assert shares == [0.01] * 5 + [0.1] * 17 + [0.0] * 5


def test_pooling_goes_beside_the_body_and_is_filled_with_zeros():
    network = build().eval()
    last_norm = network.down1.body[-2]
    nn.init.zeros_(last_norm.weight)
    nn.init.zeros_(last_norm.bias)
    x = torch.rand(1, 4, 6, 6)
    out, places = network.down1(x)
    assert torch.equal(out[:, :4], nn.functional.max_pool2d(x, 2))
    assert out.shape[1] == 8
    assert not out[:, 4:].any()
    assert places.shape == (1, 4, 3, 3)


def test_each_upsampling_unpools_to_the_places_of_its_own_level():
    network = build().eval()
    given: list[torch.Tensor] = []
    made: list[torch.Tensor] = []
    for down in (network.down1, network.down2):
        down.register_forward_hook(lambda *args: made.append(args[2][1]))
    for up in (network.up4, network.up5):
        up.register_forward_hook(lambda *args: given.append(args[1][1]))
    network(torch.rand(1, 1, 16, 24))
    assert made[0] is given[1]
    assert made[1] is given[0]


def test_three_dimensions_have_three_strips():
    network = build(ndim=3)
    convs = [m.kernel_size for m in network.stage2[2].modules() if isinstance(m, nn.Conv3d)]
    one = (1, 1, 1)
    assert convs == [one, (5, 1, 1), (1, 5, 1), (1, 1, 5), one]


@pytest.mark.parametrize("upsampling", ["resize", "transposed"])
def test_a_thin_axis_is_left_alone(upsampling):
    network = build(
        ndim=3, strides=((1, 2, 2),) * 3, kernel_size=(1, 3, 3), upsampling=upsampling
    ).eval()
    assert network.divisor == (1, 8, 8)
    image = torch.randn(1, 1, 2, 16, 16)
    slices = torch.cat([network(image[:, :, i : i + 1]) for i in range(2)], dim=2)
    torch.testing.assert_close(network(image), slices, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": (8,)}, r"network\.arguments\.widths"),
        ({"widths": (2, 8)}, "must not shrink"),
        ({"dilations": (2, 4, 8)}, r"network\.arguments\.dilations"),
        ({"dropout": (0.1, 1.0)}, r"network\.arguments\.dropout"),
    ],
)
def test_mistakes_are_explained(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(**arguments)
