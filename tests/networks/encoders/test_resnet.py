from __future__ import annotations

import pytest
import torch
from monai.networks.nets import resnet as monai_resnet
from torch import nn

from medseg.errors import ConfigError
from medseg.networks.encoders.resnet import ResNet

WITHOUT_CLASSIFIER = {18: 11176512, 34: 21284672, 50: 23508032, 101: 42500160, 152: 58143808}


@pytest.mark.parametrize(("depth", "expected"), WITHOUT_CLASSIFIER.items())
def test_parameters_are_those_of_the_published_networks(depth, expected):
    with torch.device("meta"):
        encoder = ResNet(ndim=2, in_channels=3, depth=depth)
    assert sum(p.numel() for p in encoder.parameters()) == expected


def test_the_deep_stem_replaces_49_weights_by_27():
    with torch.device("meta"):
        plain, deep = (ResNet(ndim=2, in_channels=3, depth=50, deep_stem=d) for d in (False, True))
    stems = [sum(p.numel() for p in e.stem.parameters()) for e in (plain, deep)]
    assert stems[0] == 49 * 3 * 64 + 2 * 64
    assert stems[1] == 9 * (3 * 32 + 32 * 32 + 32 * 64) + 2 * (32 + 32 + 64)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("depth", [18, 50])
def test_equal_to_monai_with_the_same_weights(ndim, depth):
    torch.manual_seed(0)
    ours = ResNet(ndim=ndim, in_channels=1, depth=depth, width=0.125).eval()
    block, counts = {
        18: (monai_resnet.ResNetBlock, [2, 2, 2, 2]),
        50: (monai_resnet.ResNetBottleneck, [3, 4, 6, 3]),
    }[depth]
    theirs = monai_resnet.ResNet(
        block,
        counts,
        [8, 16, 32, 64],
        spatial_dims=ndim,
        n_input_channels=1,
        conv1_t_stride=2,
        feed_forward=False,
        bias_downsample=False,
    ).eval()
    for module in ours.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    values = ours.state_dict().values()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), values, strict=True)))
    image = torch.randn(2, 1, *(32,) * ndim)
    pooled = ours(image)[-1].flatten(2).mean(-1)
    torch.testing.assert_close(theirs(image), pooled, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("depth", [18, 50])
def test_the_dilated_network_holds_the_strided_one_on_every_fourth_voxel(ndim, depth):
    torch.manual_seed(0)
    options = {"ndim": ndim, "in_channels": 1, "depth": depth, "deep_stem": True, "width": 0.0625}
    strided = ResNet(**options).eval()
    dilated = ResNet(**options, output_stride=8).eval()
    dilated.load_state_dict(strided.state_dict())
    image = torch.randn(1, 1, *(64,) * ndim)
    coarse, fine = strided(image)[-1], dilated(image)[-1]
    assert fine.shape[2:] == (8,) * ndim
    every_fourth = fine[(..., *(slice(None, None, 4),) * ndim)]
    torch.testing.assert_close(every_fourth, coarse, atol=1e-5, rtol=1e-4)


def test_multigrid_multiplies_the_dilations_of_the_last_stage():
    encoder = ResNet(
        ndim=2, in_channels=1, depth=50, width=0.0625, output_stride=16, multigrid=(1, 2, 4)
    )
    rates = [
        [
            m.dilation[0]
            for m in stage.modules()
            if isinstance(m, nn.Conv2d) and m.kernel_size[0] == 3
        ]
        for stage in encoder.stages
    ]
    assert rates[2] == [1] * 6
    assert rates[3] == [2, 4, 8]


def test_an_axis_without_strides_and_kernels_is_left_alone():
    torch.manual_seed(0)
    encoder = ResNet(
        ndim=3,
        in_channels=1,
        depth=18,
        width=0.125,
        strides=((1, 2, 2),) * 5,
        kernel_sizes=((1, 3, 3),) * 5,
    ).eval()
    image = torch.randn(1, 1, 3, 32, 32)
    one_by_one = torch.cat([encoder(part)[-1] for part in image.split(1, dim=2)], dim=2)
    torch.testing.assert_close(encoder(image)[-1], one_by_one, atol=1e-5, rtol=1e-4)


def test_other_depths_are_refused():
    with pytest.raises(ConfigError, match=r"depth is 20; ResNet has 18"):
        ResNet(ndim=2, in_channels=1, depth=20)
