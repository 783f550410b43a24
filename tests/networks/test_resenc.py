from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.networks.blocks import Block
from medseg.networks.resenc import ResEncUNet


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("ndim", "nnunet", "widths"),
    [
        (2, 71_816_586, (32, 64, 128, 256, 512, 512)),
        (3, 102_349_770, (32, 64, 128, 256, 320, 320)),
    ],
)
def test_parameters_equal_nnunets_but_for_lost_biases_and_the_unused_head(ndim, nnunet, widths):
    # nnunet: ResidualEncoderUNet of dynamic-network-architectures 0.4.4, six stages, conv_bias on.
    with torch.device("meta"):
        ours = ResEncUNet(ndim=ndim, in_channels=1, num_classes=2)
    rows = zip((1, 3, 4, 6, 6, 6), widths, strict=True)
    biases = widths[0] + sum(2 * n * w for n, w in rows) + sum(widths[:-1])
    coarsest_head = 2 * widths[-2] + 2
    assert nnunet - count(ours) == biases + coarsest_head


def test_stages_have_1_3_4_6_6_6_blocks_and_one_decoder_convolution():
    with torch.device("meta"):
        network = ResEncUNet(ndim=3, in_channels=1, num_classes=2)
    assert [len(stage) for stage in network.encoder] == [1, 3, 4, 6, 6, 6]
    assert [len(stage) for stage in network.decoder] == [1] * 5
    assert network.divisor == (32, 32, 32)
    first = network.encoder[1][0].shortcut
    assert [type(layer) for layer in (first[0], first[1][0])] == [nn.AvgPool3d, nn.Conv3d]
    assert len(network.encoder[1][1].shortcut) == 0  # same width and size: the input itself


def test_blocks_start_as_their_shortcut():
    network = ResEncUNet(ndim=2, in_channels=1, num_classes=2, widths=(4, 4), blocks=2)
    block = network.encoder[1][0]
    assert isinstance(block, Block)
    x = torch.rand(1, 4, 6, 6)
    torch.testing.assert_close(block(x), nn.functional.avg_pool2d(x, 2))
    free = ResEncUNet(ndim=2, in_channels=1, num_classes=2, widths=(4, 4), zero_init=False)
    assert free.encoder[1][0].second[1].weight.min() == 1


def test_supervised_levels_are_all_but_the_coarsest():
    network = ResEncUNet(ndim=2, in_channels=1, num_classes=3, widths=(4,) * 5, blocks=1)
    out = network(torch.zeros(1, 1, 32, 48))
    assert [tuple(aux.shape[2:]) for aux in out.aux] == [(16, 24), (8, 12)]


def test_arguments_that_do_not_fit_are_explained():
    with pytest.raises(ConfigError, match=r"network\.arguments\.blocks"):
        ResEncUNet(ndim=2, in_channels=1, num_classes=2, widths=(4, 8), blocks=(1, 3, 4))
