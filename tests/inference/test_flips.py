"""Test-time flips: worked by hand, and what every listener of them is told."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.inference.flips import all_flips, flipped, predict_mirrored


class FirstColumn(nn.Module):
    """Answers its input in the first column alone, so that a flip moves the answer."""

    def forward(self, image):
        return image * torch.tensor([1.0] + [0.0] * (image.shape[-1] - 1))


def test_by_hand():
    image = torch.tensor([[[[3.0, 5.0, 7.0]]]])  # one row: flipped, the last column is the first
    answers = list(flipped(FirstColumn(), image, (1,)))
    assert [one.flatten().tolist() for one in answers] == [[3, 0, 0], [0, 0, 7]]
    assert predict_mirrored(FirstColumn(), image, (1,)).flatten().tolist() == [1.5, 0, 3.5]


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_mean_is_that_of_all_subsets_of_axes(ndim):
    image, axes = torch.rand(2, 1, *(4, 5, 3)[:ndim]), tuple(range(ndim))
    told = []
    mean = predict_mirrored(FirstColumn(), image, axes, told.append)
    assert len(told) == len(all_flips(axes)) == 2**ndim
    assert torch.allclose(mean, torch.stack(told).mean(0))
    assert torch.allclose(predict_mirrored(nn.Identity(), image, axes), image)


def test_without_axes_the_network_answers_alone_and_its_input_stays():
    image = torch.rand(1, 1, 4, 4)
    before, told = image.clone(), []
    assert predict_mirrored(nn.Identity(), image, (), told.append) is image
    predict_mirrored(nn.Identity(), image, (0, 1))
    assert torch.equal(image, before)
    assert len(told) == 1
