"""DeepLab v1 and v2."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.networks.deeplabv1 import DeepLabV1
from medseg.networks.deeplabv2 import DeepLabV2
from medseg.networks.output import Prediction

TINY = {"in_channels": 1, "num_classes": 3, "encoder": "resnet18", "width": 0.125}


@pytest.mark.parametrize(("build", "millions"), [(DeepLabV1, 20.50), (DeepLabV2, 44.05)])
def test_parameter_count_of_the_reference_form(build, millions):
    with torch.device("meta"):
        network = build(ndim=2, in_channels=3, num_classes=21)
    total = sum(p.numel() for p in network.parameters())
    assert total / 1e6 == pytest.approx(millions, abs=0.006)


def test_large_field_of_view_is_a_dilated_convolution_at_an_eighth():
    with torch.device("meta"):
        network = DeepLabV1(ndim=2, in_channels=3, num_classes=21)
    assert network.divisor == (8, 8)
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [m.dilation[0] for m in convs] == [1] * 10 + [2] * 3 + [12, 1, 1]
    assert convs[13].kernel_size == (3, 3)


def test_large_field_of_view_on_another_encoder_may_have_an_auxiliary_head():
    network = DeepLabV1(ndim=2, channels=16, auxiliary=True, **TINY)
    out = network.train()(torch.zeros(1, 1, 32, 32))
    assert isinstance(out, Prediction)
    assert [x.shape for x in out.aux] == [(1, 3, 4, 4)]
    assert isinstance(
        DeepLabV1(ndim=2, channels=16, **TINY)(torch.zeros(1, 1, 32, 32)), torch.Tensor
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_classifiers_of_all_rates_are_summed(ndim):
    torch.manual_seed(0)
    network = DeepLabV2(ndim=ndim, rates=(1, 3), **TINY).eval()
    maps = network.encoder(torch.randn(1, 1, *(32,) * ndim))
    one, three = network.head.classify
    torch.testing.assert_close(network.head(maps), one(maps[-1]) + three(maps[-1]))
    assert (one.dilation, three.dilation) == ((1,) * ndim, (3,) * ndim)


def test_scales_are_fused_by_the_largest_logit_and_each_is_supervised():
    torch.manual_seed(0)
    image = torch.randn(2, 1, 32, 40)
    several = DeepLabV2(ndim=2, scales=(0.5, 1.0), **TINY).eval()
    whole = DeepLabV2(ndim=2, **TINY).eval()
    whole.load_state_dict(several.state_dict())
    half = nn.functional.interpolate(image, (16, 20), mode="bilinear")
    up = nn.functional.interpolate(whole(half), (32, 40), mode="bilinear")
    torch.testing.assert_close(several(image), torch.maximum(up, whole(image)))
    out = several.train()(image)
    assert isinstance(out, Prediction)
    assert out.aux_weights == (1.0, 1.0)
    assert [x.shape for x in out.aux] == [out.logits.shape] * 2
    with pytest.raises(ConfigError, match=r"network\.arguments\.scales"):
        DeepLabV2(ndim=2, scales=(0.0,), **TINY)
