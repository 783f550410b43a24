from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.networks.deconvnet import DeconvNet

SMALL = {"widths": (4, 8), "convs": 1, "dense_width": 8, "dense_kernel": 3}


def test_parameter_count_is_about_what_the_paper_says():
    with torch.device("meta"):
        network = DeconvNet(ndim=2, in_channels=3, num_classes=21)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == 252


def test_layers_mirror_vgg16():
    with torch.device("meta"):
        network = DeconvNet(ndim=2, in_channels=3, num_classes=21)
    down = [m for m in network.encoder.modules() if isinstance(m, nn.Conv2d)]
    up = [m for m in network.decoder.modules() if isinstance(m, nn.Conv2d)]
    assert len(down) == len(up) == 13
    fc6, fc7, back = network.dense[0], network.dense[3], network.dense[6]
    assert (fc6.kernel_size, fc6.out_channels) == ((7, 7), 4096)
    assert (fc7.kernel_size, fc7.out_channels) == ((1, 1), 4096)
    assert isinstance(back, nn.ConvTranspose2d)
    assert (back.kernel_size, back.out_channels) == ((7, 7), 512)
    assert network.smallest == (224, 224)  # the image of the paper


@pytest.mark.parametrize(
    ("size", "map_size"),
    [
        ((8, 8), (1, 2)),  # padded to 12 x 16: one voxel would be too few
        ((12, 12), (1, 2)),
        ((16, 12), (2, 1)),
        ((13, 21), (2, 4)),
    ],
)
def test_dense_layers_see_whole_windows(size, map_size):
    torch.manual_seed(0)
    network = DeconvNet(ndim=2, in_channels=1, num_classes=2, **SMALL)
    seen: list[torch.Size] = []
    network.dense[0].register_forward_hook(lambda *args: seen.append(args[2].shape))
    out = network(torch.randn(1, 1, *size))
    assert out.shape == (1, 2, *size)
    assert tuple(seen[0][2:]) == map_size


def test_padding_to_the_smallest_size_repeats_the_border():
    torch.manual_seed(0)
    network = DeconvNet(ndim=3, in_channels=1, num_classes=2, **SMALL).eval()
    image = torch.randn(1, 1, 5, 6, 7)
    padded = nn.functional.pad(image, (0, 9, 0, 6, 0, 7), mode="replicate")
    assert torch.equal(network(image), network(padded)[..., :5, :6, :7])


def test_a_thin_axis_is_left_alone():
    torch.manual_seed(0)
    network = DeconvNet(
        ndim=3,
        in_channels=1,
        num_classes=2,
        widths=(4, 8),
        dense_width=8,
        dense_kernel=(1, 2, 2),
        strides=((1, 2, 2), (1, 2, 2)),
        kernel_size=(1, 3, 3),
    ).eval()
    assert network.divisor == (1, 4, 4)
    image = torch.randn(1, 1, 2, 16, 16)
    slices = torch.cat([network(image[:, :, i : i + 1]) for i in range(2)], dim=2)
    torch.testing.assert_close(network(image), slices, atol=1e-5, rtol=1e-4)
