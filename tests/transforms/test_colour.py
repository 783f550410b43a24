from __future__ import annotations

import colorsys

import pytest
import torch

from medseg.transforms.colour import LUMA, hue_matrix, jitter_colour, saturation_matrix

BOTH = pytest.mark.parametrize("size", [(5, 4), (3, 4, 5)])


@BOTH
def test_neutral_values_change_nothing(size):
    image = torch.randn(2, 3, *size)
    same = jitter_colour(image, torch.tensor([[0.0, 1.0, 1.0, 0.0]] * 2))
    torch.testing.assert_close(same, image)


def test_brightness_and_contrast_by_hand():
    image = torch.tensor([1.0, 3.0]).expand(1, 3, 2)[..., None]
    out = jitter_colour(image, torch.tensor([[0.5, 2.0, 1.0, 0.0]]))
    assert out[0, 0, :, 0].tolist() == pytest.approx([0.5, 4.5])


def test_without_saturation_all_is_luma_and_grey_never_changes():
    one = torch.tensor([0.0], dtype=torch.float64)
    grey = saturation_matrix(one)[0] @ torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    assert grey.tolist() == pytest.approx([LUMA[0]] * 3)
    for matrix in (saturation_matrix(one + 1.7)[0], hue_matrix(one + 40)[0]):
        assert (matrix @ torch.ones(3, dtype=torch.float64)).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(("degrees", "expected"), [(120, (0, 1, 0)), (240, (0, 0, 1))])
def test_a_turned_hue_goes_the_way_of_colorsys(degrees, expected):
    red = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    turned = hue_matrix(torch.tensor([float(degrees)], dtype=torch.float64))[0] @ red
    assert turned.tolist() == pytest.approx(expected, abs=1e-12)
    assert colorsys.hsv_to_rgb(degrees / 360, 1, 1) == pytest.approx(expected)
