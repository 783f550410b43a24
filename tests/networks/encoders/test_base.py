from __future__ import annotations

import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks.encoders import ENCODERS, build_encoder
from medseg.networks.encoders.base import dilate, running_product


def test_strides_beyond_the_output_stride_become_dilation():
    strides, rates = dilate([(2, 2), (2, 2), (2, 2), (2, 2)], 4)
    assert strides == [(2, 2), (2, 2), (1, 1), (1, 1)]
    assert rates == [(1, 1), (1, 1), (2, 2), (4, 4)]


def test_each_axis_has_its_own_budget():
    strides, rates = dilate([(1, 2), (2, 2), (2, 2)], (4, 2))
    assert strides == [(1, 2), (2, 1), (2, 1)]
    assert rates == [(1, 1), (1, 2), (1, 4)]
    assert running_product(strides) == ((1, 2), (2, 2), (4, 2))


def test_nothing_is_traded_without_an_output_stride():
    assert dilate([(2,), (3,)], None) == ([(2,), (3,)], [(1,), (1,)])


def test_mistakes_are_explained():
    with pytest.raises(ConfigError, match="did you mean 'resnet50'"):
        build_encoder("resnet5", ndim=2, in_channels=1)
    with pytest.raises(ConfigError, match="output_stride"):
        build_encoder("resnet18", ndim=3, in_channels=1, output_stride=(8, 8))
    with pytest.raises(ConfigError, match="strides has 2 entries for 5"):
        build_encoder("vgg16", ndim=2, in_channels=1, strides=(2, 2))


PLAIN = {  # one of each family; the others differ in their depth
    *("densenet121", "mit_b0", "mobilenet_v3_large", "mobilenet_v3_small", "plain", "resnet18"),
    *("resnet18_jpu", "resnet50_v1c", "vgg16_bn", "xception41"),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in PLAIN else pytest.mark.matrix) for n in sorted(ENCODERS)],
)
@pytest.mark.parametrize("ndim", [2, 3])
def test_maps_have_the_channels_and_strides_that_are_promised(name, ndim):
    with torch.device("meta"):
        encoder = build_encoder(name, ndim=ndim, in_channels=2, width=0.25, output_stride=16)
        maps = encoder(torch.zeros(2, 2, *(64,) * ndim))
    assert tuple(x.shape[1] for x in maps) == encoder.channels
    sizes = [tuple(64 // s for s in stride) for stride in encoder.strides]
    assert [tuple(x.shape[2:]) for x in maps] == sizes
    assert encoder.strides[-1] == (16,) * ndim
