from __future__ import annotations

import pytest
import torch

from medseg.transforms.erase import erase_box


def test_a_box_by_hand():
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    out = erase_box(image, torch.tensor([[0.5, 0.25, 0.0, 1.0]]))  # 2 rows, 1 column
    expected = image.clone()
    expected[0, 0, :2, 3] = 7.5
    assert torch.equal(out, expected)
    assert image[0, 0, 0, 3] == 3


@pytest.mark.parametrize("size", [(10, 8), (10, 8, 6), (1, 8, 6)])
def test_the_box_lies_inside_and_the_rest_is_kept(size):
    image = torch.randn(3, 2, *size)
    values = torch.rand(3, 2 * len(size)) * 0.999
    out = erase_box(image, values)
    changed = (out != image).any(1)
    assert changed.flatten(1).any(1).all()
    whole = erase_box(image, torch.ones(3, 2 * len(size)))
    means = image.flatten(2).mean(2)
    torch.testing.assert_close(whole.flatten(2), means[..., None].expand(whole.flatten(2).shape))
