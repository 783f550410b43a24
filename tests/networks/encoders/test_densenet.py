from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DenseNet as MonaiDenseNet
from torch import nn

from medseg.errors import ConfigError
from medseg.networks.encoders.densenet import LAYERS, DenseNet

WITHOUT_CLASSIFIER = {121: 6953856, 161: 26472000, 169: 12484480, 201: 18092928}


@pytest.mark.parametrize(("depth", "expected"), WITHOUT_CLASSIFIER.items())
def test_parameters_are_those_of_the_published_networks(depth, expected):
    with torch.device("meta"):
        encoder = DenseNet(ndim=2, in_channels=3, depth=depth)
    assert sum(p.numel() for p in encoder.parameters()) == expected


@pytest.mark.parametrize("ndim", [2, 3])
def test_equal_to_monai_with_the_same_weights(ndim, monkeypatch):
    monkeypatch.setitem(LAYERS, 121, (2, 3, 1, 2))
    torch.manual_seed(0)
    ours = DenseNet(ndim=ndim, in_channels=1, depth=121, width=0.125).eval()
    theirs = MonaiDenseNet(
        spatial_dims=ndim,
        in_channels=1,
        out_channels=1,
        init_features=8,
        growth_rate=4,
        block_config=(2, 3, 1, 2),
    ).features.eval()
    for module in ours.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    ordered = [ours.stem]
    for i, block in enumerate(ours.blocks):
        ordered += [block, ours.norms[i], *(ours.transitions[i : i + 1])]
    values = [value for part in ordered for value in part.state_dict().values()]
    theirs.load_state_dict(dict(zip(theirs.state_dict(), values, strict=True)))
    image = torch.randn(2, 1, *(64,) * ndim)
    torch.testing.assert_close(ours(image)[-1], theirs(image).relu(), atol=1e-5, rtol=1e-4)


def test_a_transition_past_the_output_stride_does_not_pool(monkeypatch):
    monkeypatch.setitem(LAYERS, 121, (1, 1, 1, 1))
    encoder = DenseNet(ndim=2, in_channels=1, depth=121, width=0.125, output_stride=8)
    rates = [block[0][-1].dilation for block in encoder.blocks]
    assert rates == [(1, 1), (1, 1), (2, 2), (4, 4)]
    assert encoder(torch.zeros(1, 1, 32, 32))[-1].shape[2:] == (4, 4)


def test_other_depths_are_refused():
    with pytest.raises(ConfigError, match=r"depth is 50; DenseNet has 121"):
        DenseNet(ndim=2, in_channels=1, depth=50)
