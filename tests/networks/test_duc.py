from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.networks.duc import DUC, shuffle

TINY = {"in_channels": 1, "num_classes": 3, "encoder": "resnet18", "width": 0.125}


def test_shuffle_equals_torch():
    x = torch.randn(2, 3 * 4, 3, 5)
    torch.testing.assert_close(shuffle(x, (2, 2)), nn.functional.pixel_shuffle(x, 2))


def test_shuffle_by_hand_with_a_step_of_its_own_along_each_axis():
    x = torch.arange(6.0).reshape(1, 6, 1, 1, 1)
    out = shuffle(x, (1, 2, 3))
    assert out[0, 0].tolist() == [[[0, 1, 2], [3, 4, 5]]]


def test_stages_have_mixed_dilations():
    with torch.device("meta"):
        network = DUC(ndim=2, in_channels=3, num_classes=19)
    rates = [
        [m.dilation[0] for m in stage.modules() if getattr(m, "kernel_size", 0) == (3, 3)]
        for stage in network.encoder.stages
    ]
    assert rates[:2] == [[1] * 3, [1] * 4]
    assert rates[2] == [1, 2, 3] * 7 + [1, 2]
    assert rates[3] == [3, 4, 5]
    assert network.head.dense.out_channels == 19 * 64
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 64.91


@pytest.mark.parametrize("ndim", [2, 3])
def test_logits_have_the_size_of_the_image_and_begin_without_a_checkerboard(ndim):
    torch.manual_seed(0)
    network = DUC(ndim=ndim, output_stride=4, **TINY).eval()
    maps = network.encoder(torch.randn(1, 1, *(16,) * ndim))
    logits = network.head(maps)
    assert logits.shape == (1, 3, *(16,) * ndim)
    corners = logits[(..., *(slice(None, None, 4),) * ndim)]
    block = corners
    for axis in range(2, 2 + ndim):
        block = block.repeat_interleave(4, axis)
    torch.testing.assert_close(logits, block)
