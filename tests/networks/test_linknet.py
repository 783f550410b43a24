from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.networks.linknet import LinkNet

SMALL = {"widths": (4, 8), "blocks": 1}


def test_parameter_count_is_about_what_the_paper_says():
    with torch.device("meta"):
        network = LinkNet(ndim=2, in_channels=3, num_classes=19)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == 11.5


def test_encoder_is_resnet18():
    with torch.device("meta"):
        network = LinkNet(ndim=2, in_channels=3, num_classes=19)
    count = sum(p.numel() for part in (network.stem, network.encoder) for p in part.parameters())
    assert count == 11_689_512 - (512 * 1000 + 1000)  # torchvision's, less its classifier


@pytest.mark.parametrize("upsampling", ["resize", "transposed"])
def test_links_are_added(upsampling):
    torch.manual_seed(0)
    network = LinkNet(ndim=2, in_channels=1, num_classes=2, upsampling=upsampling, **SMALL).eval()
    image = torch.randn(1, 1, 16, 24)
    pooled = network.stem(image)
    first = network.encoder[0](pooled)
    second = network.encoder[1](first)
    assert [x.shape[2:] for x in (pooled, first, second)] == [(4, 6), (4, 6), (2, 3)]
    decoded = network.decoder[0](network.decoder[1](second) + first)
    assert torch.equal(network(image), network.head(network.grow(decoded)))


def test_decoder_narrows_to_a_quarter():
    network = LinkNet(ndim=3, in_channels=1, num_classes=2, widths=(8, 16), blocks=1)
    convs = [m for m in network.decoder[1].modules() if isinstance(m, nn.Conv3d)]
    assert [(c.in_channels, c.out_channels) for c in convs] == [(16, 4), (4, 4), (4, 8)]
    assert [c.kernel_size for c in convs] == [(1, 1, 1), (3, 3, 3), (1, 1, 1)]


def test_a_thin_axis_is_left_alone():
    torch.manual_seed(0)
    network = LinkNet(
        ndim=3,
        in_channels=1,
        num_classes=2,
        strides=((1, 2, 2),) * 3,
        kernel_size=(1, 3, 3),
        first_kernel=(1, 7, 7),
        **SMALL,
    ).eval()
    assert network.divisor == (1, 8, 8)
    image = torch.randn(1, 1, 2, 16, 16)
    slices = torch.cat([network(image[:, :, i : i + 1]) for i in range(2)], dim=2)
    torch.testing.assert_close(network(image), slices, atol=1e-5, rtol=1e-4)
