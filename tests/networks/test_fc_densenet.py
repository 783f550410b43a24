from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.networks.fc_densenet import (
    FCDenseNet,
    fc_densenet56,
    fc_densenet67,
    fc_densenet103,
)


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


@pytest.mark.parametrize(
    ("build", "expected"), [(fc_densenet56, 1.38), (fc_densenet67, 3.46), (fc_densenet103, 9.32)]
)
def test_parameter_count_of_the_papers_forms_on_camvid(build, expected):
    with torch.device("meta"):
        network = build(ndim=2, in_channels=3, num_classes=11)
    assert round(millions(network), 2) == expected


def test_parameter_count_in_3d():
    with torch.device("meta"):
        network = fc_densenet103(ndim=3, in_channels=3, num_classes=19)
    assert round(millions(network), 1) == 26.2


@pytest.mark.parametrize(
    ("build", "named"), [(fc_densenet56, 56), (fc_densenet67, 67), (fc_densenet103, 103)]
)
def test_layers_are_as_many_as_the_name_says(build, named):
    with torch.device("meta"):
        network = build(ndim=2, in_channels=3, num_classes=11)
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    assert sum(isinstance(m, kinds) for m in network.modules()) == named


def test_widths_of_table_2_of_the_paper():
    with torch.device("meta"):
        network = fc_densenet103(ndim=2, in_channels=3, num_classes=11)
    assert [down[2].out_channels for down in network.downs] == [112, 192, 304, 464, 656]
    # the paper counts skip + upsampled + new maps at the end of each block of the way up
    ends = [block.layers[-1][2] for block in network.decoder]
    widths = [conv.in_channels + conv.out_channels for conv in ends]
    assert widths == [1088, 816, 576, 384, 256]  # 578 in the paper is 160 + 304 + 112
    assert network.head.in_channels == 256
    assert [up.in_channels for up in network.ups] == [240, 192, 160, 112, 80]


def test_only_the_new_maps_travel_up():
    torch.manual_seed(0)
    network = FCDenseNet(ndim=2, in_channels=1, num_classes=2, layers=(1, 3), growth=2, first=5)
    seen: list[torch.Tensor] = []
    network.bottleneck.register_forward_hook(lambda _, args, out: seen.extend((args[0], out)))
    network.ups[0].register_forward_hook(lambda _, args, out: seen.append(args[0]))
    network.eval()(torch.rand(1, 1, 8, 8))
    into, new, up = seen
    assert into.shape[1] == 5 + 2
    assert new.shape[1] == 3 * 2
    assert torch.equal(up, new)


def test_a_dense_block_equals_its_layers_written_out():
    torch.manual_seed(0)
    network = FCDenseNet(ndim=3, in_channels=1, num_classes=2, layers=(2, 1), growth=3, first=4)
    block = network.encoder[0].eval()
    x = torch.randn(1, 4, 3, 4, 5)
    first = block.layers[0](x)
    second = block.layers[1](torch.cat((x, first), 1))
    assert torch.equal(block(x), torch.cat((first, second), 1))


def test_a_thin_axis_is_left_alone():
    torch.manual_seed(0)
    network = FCDenseNet(
        ndim=3,
        in_channels=1,
        num_classes=2,
        layers=(1, 1, 1),
        growth=3,
        first=4,
        strides=((1, 2, 2), (1, 2, 2)),
        kernel_size=(1, 3, 3),
    ).eval()
    assert network.divisor == (1, 4, 4)
    image = torch.randn(1, 1, 2, 8, 8)
    slices = torch.cat([network(image[:, :, i : i + 1]) for i in range(2)], dim=2)
    torch.testing.assert_close(network(image), slices, atol=1e-5, rtol=1e-4)


def test_one_level_is_refused():
    with pytest.raises(ConfigError, match=r"network\.arguments\.layers"):
        FCDenseNet(ndim=2, in_channels=1, num_classes=2, layers=(3,))
