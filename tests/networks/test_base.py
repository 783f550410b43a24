"""Facts of the networks that are an encoder with heads; `test_contract` holds the promises."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from medseg.networks.apcnet import APCNet
from medseg.networks.base import EncoderNetwork
from medseg.networks.bisenet import BiSeNet
from medseg.networks.bisenetv2 import BiSeNetV2
from medseg.networks.deeplabv3 import DeepLabV3
from medseg.networks.deeplabv3plus import DeepLabV3Plus
from medseg.networks.dmnet import DMNet
from medseg.networks.encnet import EncNet
from medseg.networks.encoders import VGG
from medseg.networks.fastfcn import fastfcn
from medseg.networks.fcn import FCN
from medseg.networks.fcn_skip import FCN8s
from medseg.networks.ocrnet import OCRNet
from medseg.networks.output import Prediction
from medseg.networks.psanet import PSANet
from medseg.networks.pspnet import PSPNet
from medseg.networks.semantic_fpn import SemanticFPN
from medseg.networks.upernet import UPerNet

REFERENCE = [
    (FCN, 47.13, 117.0),
    (PSPNet, 46.61, 107.1),
    (DeepLabV3, 65.75, 168.7),
    (DeepLabV3Plus, 41.23, 87.6),
    (SemanticFPN, 28.50, None),
    (UPerNet, 64.05, 157.5),
    (APCNet, 53.99, 114.5),
    (DMNet, 50.81, 111.3),
    (EncNet, 33.53, 75.1),
    (PSANet, 56.77, None),
    (fastfcn, 66.35, 159.9),
    (partial(OCRNet, encoder="resnet101_v1c"), 55.52, None),
    (BiSeNet, 13.28, None),
    (BiSeNetV2, 3.36, None),
]
TINY = {"in_channels": 1, "num_classes": 3, "encoder": "resnet18_v1c", "width": 0.125}


def inference_millions(network: nn.Module) -> float:
    """Count the parameters but those of the auxiliary heads."""
    named = network.named_parameters()
    return sum(p.numel() for name, p in named if not name.startswith("aux.")) / 1e6


@pytest.mark.parametrize(("build", "flat", "solid"), REFERENCE)
def test_parameter_count_of_the_reference_form(build, flat, solid):
    with torch.device("meta"):
        network = build(ndim=2, in_channels=3, num_classes=19)
        assert round(inference_millions(network), 2) == flat
        if solid is not None:
            network = build(ndim=3, in_channels=3, num_classes=19)
            assert round(inference_millions(network), 1) == solid


@pytest.mark.parametrize("build", [FCN, PSPNet, DeepLabV3, DeepLabV3Plus, UPerNet])
@pytest.mark.parametrize("ndim", [2, 3])
def test_one_auxiliary_head_at_the_size_of_the_third_stage(build, ndim):
    image = torch.randn(2, 1, *(64 if build is UPerNet else 32,) * ndim)
    network = build(ndim=ndim, **TINY).train()
    out = network(image)
    assert isinstance(out, Prediction)
    assert out.aux_weights == (0.4,)
    assert [tuple(x.shape[2:]) for x in out.aux] == [(4,) * ndim]
    assert isinstance(network.eval()(image), torch.Tensor)
    without = build(ndim=ndim, auxiliary=False, **TINY).train()
    assert isinstance(without(image), torch.Tensor)


@pytest.mark.parametrize("build", [FCN, SemanticFPN])
def test_a_thin_axis_is_left_alone(build):
    torch.manual_seed(0)
    axes = {"strides": ((1, 2, 2),) * 5, "kernel_sizes": ((1, 3, 3),) * 5}
    more = {"head_norm": "none"} if build is SemanticFPN else {}
    network = build(ndim=3, **TINY, **axes, **more).eval()
    assert network.divisor[0] == 1
    image = torch.randn(1, 1, 3, 64, 64)
    one_by_one = torch.cat([network(part) for part in image.split(1, dim=2)], dim=2)
    torch.testing.assert_close(network(image), one_by_one, atol=1e-5, rtol=1e-4)


def test_logits_are_interpolated_on_the_padded_image_then_cropped():
    class Count(nn.Module):
        """Give each coarse voxel its number along the last axis."""

        def forward(self, maps):
            n = maps[-1].shape[-1]
            return torch.arange(float(n)).expand(1, 1, maps[-1].shape[-2], n)

    encoder = VGG(ndim=2, in_channels=1, width=0.0625, strides=(2, 1, 1, 1, 1))
    logits = EncoderNetwork(encoder, Count())(torch.zeros(1, 1, 4, 5))  # padded to 4 x 6
    torch.testing.assert_close(logits[0, 0, 0], torch.tensor([0.0, 0.25, 0.75, 1.25, 1.75]))


def test_unknown_arguments_reach_the_encoder_and_are_refused():
    with pytest.raises(TypeError, match="wide"):
        PSPNet(ndim=2, wide=3, **TINY)


def test_fcn_has_two_convolutions_and_one_that_sees_the_map_again():
    network = FCN(ndim=2, **TINY)
    convs = [m for m in network.head.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in convs] == [
        (64, 64),
        (64, 64),
        (128, 64),
        (64, 3),
    ]


def test_upernet_fuses_four_levels_at_a_quarter():
    network = UPerNet(ndim=2, **TINY).eval()
    assert network.head.fuse[0].in_channels == 4 * 64
    maps = network.encoder(torch.zeros(1, 1, 64, 64))
    assert network.head(maps).shape == (1, 3, 16, 16)


def test_semantic_fpn_doubles_each_level_as_often_as_needed():
    network = SemanticFPN(ndim=2, **TINY).eval()
    assert [len(row.convs) for row in network.head.rows] == [1, 1, 2, 3]
    sizes = []
    for conv in network.head.rows[3].convs:
        conv.register_forward_hook(lambda m, i, out: sizes.append(out.shape[-1]))
    network(torch.zeros(1, 1, 64, 64))
    assert sizes == [2, 4, 8]


def test_deeplabv3plus_gives_logits_at_the_first_stage():
    network = DeepLabV3Plus(ndim=2, **TINY).eval()
    maps = network.encoder(torch.zeros(1, 1, 64, 64))
    assert network.head(maps).shape == (1, 3, 16, 16)
    depthwise = [m for m in network.head.context.modules() if getattr(m, "groups", 1) > 1]
    assert [m.dilation for m in depthwise] == [(12, 12), (24, 24), (36, 36)]


def test_rates_follow_the_output_stride():
    network = DeepLabV3(ndim=2, output_stride=16, **TINY)
    rates = [branch[0].dilation[0] for branch in network.head.context.branches]
    assert rates == [1, 6, 12, 18]


@pytest.mark.parametrize("ndim", [2, 3])
def test_batch_one_of_the_smallest_image_trains_with_batch_norm(ndim):
    network = FCN8s(ndim=ndim, in_channels=1, num_classes=2, width=0.0625, kernel_size=3)
    assert network.train()(torch.zeros(1, 1, *(1,) * ndim)).shape == (1, 2, *(1,) * ndim)


@pytest.mark.parametrize("norm", ["instance", "batch", "group", "none"])
@pytest.mark.parametrize("build", [FCN, PSPNet, DeepLabV3, DeepLabV3Plus, SemanticFPN, UPerNet])
def test_any_norm_and_encoder_with_a_single_voxel_in_training(build, norm):
    torch.manual_seed(0)
    for encoder in ("vgg16_bn", "resnet50"):
        tiny = {**TINY, "encoder": encoder, "width": 0.0625}
        out = build(ndim=2, norm=norm, **tiny).train()(torch.rand(1, 1, 1, 1))
        logits = out.logits if isinstance(out, Prediction) else out
        assert logits.shape == (1, 3, 1, 1)
        assert logits.isfinite().all()
