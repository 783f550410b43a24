from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.networks.encoders import build_encoder
from medseg.networks.encoders.mobilenet import LARGE, MobileNetV3, Row


@pytest.mark.parametrize(
    ("name", "expected"), [("mobilenet_v3_large", 2971952), ("mobilenet_v3_small", 927008)]
)
def test_parameters_are_those_of_the_published_networks(name, expected):
    with torch.device("meta"):
        encoder = build_encoder(name, ndim=2, in_channels=3)
    assert sum(p.numel() for p in encoder.parameters()) == expected


def test_maps_end_before_each_stride():
    encoder = build_encoder("mobilenet_v3_large", ndim=2, in_channels=3)
    assert encoder.channels == (16, 24, 40, 112, 960)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_dilated_network_holds_the_strided_one_on_every_fourth_voxel(ndim):
    torch.manual_seed(0)
    ungated = [row._replace(gate=False) for row in LARGE]  # a gate means over other voxels
    options = {"ndim": ndim, "in_channels": 1, "width": 0.125, "rows": ungated}
    strided = MobileNetV3(**options).eval()
    dilated = MobileNetV3(**options, output_stride=8).eval()
    dilated.load_state_dict(strided.state_dict())
    image = torch.randn(1, 1, *(64,) * ndim)
    coarse, fine = strided(image)[-1], dilated(image)[-1]
    every_fourth = fine[(..., *(slice(None, None, 4),) * ndim)]
    torch.testing.assert_close(every_fourth, coarse, atol=1e-5, rtol=1e-4)


def test_kernels_and_gates_are_those_of_the_table():
    with torch.device("meta"):
        encoder = build_encoder("mobilenet_v3_large", ndim=2, in_channels=3)
    convs = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    depthwise = [m for m in convs if m.groups > 1]
    assert [m.kernel_size[0] for m in depthwise] == [row.kernel for row in LARGE]
    squeezed = [m.out_channels for m in convs if m.bias is not None][::2]
    assert squeezed == [24, 32, 32, 120, 168, 168, 240, 240]


def test_a_gate_weighs_channels_by_their_means():
    torch.manual_seed(0)
    rows = [Row(3, 16, 16, True, False, 2)] * 4
    encoder = MobileNetV3(ndim=2, in_channels=1, rows=rows)
    gate = encoder.stages[1][0].body[-3]
    x = torch.randn(2, 16, 3, 3)
    _, narrow, _, wide, _ = gate.body
    mean = x.mean((2, 3))
    inner = (mean @ narrow.weight.flatten(1).T + narrow.bias).relu()
    factor = nn.functional.hardsigmoid(inner @ wide.weight.flatten(1).T + wide.bias)
    torch.testing.assert_close(gate(x), x * factor[..., None, None])


def test_an_axis_without_strides_and_kernels_is_seen_alike_in_every_slice():
    torch.manual_seed(0)
    ungated = [row._replace(gate=False) for row in LARGE]
    encoder = MobileNetV3(
        ndim=3,
        in_channels=1,
        rows=ungated,
        width=0.125,
        strides=((1, 2, 2),) * 5,
        kernel_sizes=((1, 3, 3),) * 5,
    ).eval()
    image = torch.randn(1, 1, 3, 32, 32)
    one_by_one = torch.cat([encoder(part)[-1] for part in image.split(1, dim=2)], dim=2)
    torch.testing.assert_close(encoder(image)[-1], one_by_one, atol=1e-5, rtol=1e-4)
