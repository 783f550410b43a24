from __future__ import annotations

import pytest
import torch

from medseg.networks.encoders import build_encoder


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_last_map_is_made_of_the_three_coarsest_at_the_finest_of_them(ndim):
    encoder = build_encoder("resnet18_jpu", ndim=ndim, in_channels=1, width=0.125).eval()
    maps = encoder(torch.randn(1, 1, *(64,) * ndim))
    plain = encoder.inner(torch.randn(1, 1, *(64,) * ndim))
    assert [x.shape for x in maps[:-1]] == [x.shape for x in plain[:-1]]
    assert maps[-1].shape == (1, 4 * 64, *(8,) * ndim)
    assert encoder.strides[-1] == (8,) * ndim
    assert encoder.divisor == (32,) * ndim  # the encoder within is not dilated


def test_the_output_stride_says_which_maps_are_joined():
    joined = {
        stride: len(
            build_encoder(
                "resnet18_jpu", ndim=2, in_channels=1, width=0.0625, output_stride=stride
            ).units
        )
        for stride in (4, 8, 16, 32)
    }
    assert joined == {4: 4, 8: 3, 16: 2, 32: 1}


def test_branches_are_dilated_separable_convolutions_without_relu_between():
    encoder = build_encoder("resnet18_jpu", ndim=2, in_channels=1, width=0.0625)
    assert [branch[0][0].dilation[0] for branch in encoder.branches] == [1, 2, 4, 8]
    assert all(len(branch[0]) == 2 for branch in encoder.branches)
    assert all(len(branch[1]) == 3 for branch in encoder.branches)
