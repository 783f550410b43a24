from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.networks.blocks import pad_to_divisor
from medseg.networks.unet import UNet


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_counted_by_hand():
    network = UNet(ndim=2, in_channels=1, num_classes=2, widths=(2, 3), norm="none")
    down = (9 * 1 * 2 + 2) + (9 * 2 * 2 + 2) + (9 * 2 * 3 + 3) + (9 * 3 * 3 + 3)
    up = (4 * 3 * 2 + 2) + (9 * 4 * 2 + 2) + (9 * 2 * 2 + 2)
    assert count(network) == down + up + (2 * 2 + 2)


def test_parameters_equal_the_nnunet_plain_unet_of_the_original_widths():
    # nnU-Net 2-D, 5 levels, instance norm: convolutions without bias, norms with scale and shift.
    widths = (32, 64, 128, 256, 512)
    network = UNet(ndim=2, in_channels=1, num_classes=2, widths=widths)
    convs = sum(9 * a * b + 9 * b * b + 4 * b for a, b in zip((1, *widths), widths, strict=False))
    for below, width in zip(widths[1:], widths, strict=False):
        convs += 4 * below * width + width + 9 * 2 * width * width + 9 * width * width + 4 * width
    heads = sum(2 * w + 2 for w in widths[:3])
    assert count(network) == convs + heads


def test_thin_level_has_one_convolution_on_each_side():
    network = UNet(ndim=3, in_channels=1, num_classes=3, widths=(12, 48, 96), thin=True)
    for side in (network.encoder[0], network.decoder[0]):
        assert sum(isinstance(m, nn.Conv3d) for m in side.modules()) == 1
    assert sum(isinstance(m, nn.Conv3d) for m in network.encoder[1].modules()) == 2


def test_deep_supervision_heads_are_all_decoder_levels_but_the_coarsest():
    network = UNet(ndim=2, in_channels=1, num_classes=3, widths=(4, 4, 4, 4, 4))
    out = network(torch.zeros(1, 1, 32, 48))
    assert [tuple(aux.shape[2:]) for aux in out.aux] == [(16, 24), (8, 12)]
    assert isinstance(
        UNet(ndim=2, in_channels=1, num_classes=3, widths=(4, 4))(torch.zeros(1, 1, 8, 8)),
        torch.Tensor,
    )
    plain = UNet(ndim=2, in_channels=1, num_classes=3, widths=(4, 4, 4, 4), deep_supervision=False)
    assert isinstance(plain(torch.zeros(1, 1, 8, 16)), torch.Tensor)


@pytest.mark.parametrize("residual", [False, True])
def test_a_residual_block_starts_from_its_input(residual):
    network = UNet(
        ndim=2, in_channels=1, num_classes=2, widths=(4, 4), residual=residual, norm="batch"
    )
    block = network.encoder[1][0]
    nn.init.zeros_(block.second[1].weight)  # the branch adds nothing
    x = torch.rand(1, 4, 6, 6)
    expected = nn.functional.avg_pool2d(x, 2) if residual else torch.zeros(1, 4, 3, 3)
    torch.testing.assert_close(block(x), expected)


def test_one_level_is_a_plain_row_of_convolutions():
    network = UNet(ndim=2, in_channels=1, num_classes=2, widths=(4,)).eval()
    assert network.divisor == (1, 1)
    assert network(torch.zeros(1, 1, 5, 3)).shape == (1, 2, 5, 3)


def test_padding_repeats_the_border_and_keeps_fitting_images():
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    padded = pad_to_divisor(image, (2, 2))
    assert padded.flatten().tolist() == [0, 1, 2, 2, 3, 4, 5, 5]
    assert pad_to_divisor(image, (2, 3)).shape == (1, 1, 2, 6)  # else one voxel is left
    assert pad_to_divisor(padded, (1, 2)) is padded


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": (2, 2)}, "first level's stride is 1"),
        ({"strides": (1,)}, "1 entries for 2 levels"),
        ({"kernel_sizes": (3, 2)}, "must be odd"),
        ({"kernel_sizes": (3, (3, 3, 3))}, "one per axis"),
        ({"blocks": (1, 2, 3)}, "one per level"),
        ({"norm": "instanse"}, "did you mean 'instance'"),
    ],
)
def test_arguments_that_do_not_fit_are_explained(arguments, message):
    with pytest.raises(ConfigError, match=message):
        UNet(ndim=2, in_channels=1, num_classes=2, widths=(4, 8), **arguments)
