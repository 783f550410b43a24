from __future__ import annotations

import pytest
import torch

from medseg.transforms.bias_field import multiply_bias_field

BOTH = pytest.mark.parametrize("size", [(20, 18), (12, 10, 14), (1, 12, 10)])


@BOTH
def test_moments_are_kept_and_the_seed_decides(size):
    image = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(0)) * 3 + 1
    strength = torch.tensor([[0.5], [0.2]])
    out = multiply_bias_field(image, strength, 4)
    torch.testing.assert_close(out.flatten(2).mean(2), image.flatten(2).mean(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.flatten(2).std(2), image.flatten(2).std(2), atol=1e-4, rtol=1e-4)
    assert torch.equal(out, multiply_bias_field(image, strength, 4))
    assert not torch.equal(out, multiply_bias_field(image, strength, 5))
    still = multiply_bias_field(image, torch.zeros(2, 1), 4)
    torch.testing.assert_close(still, image, atol=1e-4, rtol=0)


def test_the_field_is_smooth_and_within_its_strength():
    image = torch.ones(1, 1, 40, 40)
    image[0, 0, 0, 0] = 0  # the least value, which is not multiplied
    out = multiply_bias_field(image, torch.tensor([[0.5]]), 1)
    log = (out - out[0, 0, 0, 0]).flatten()[1:].log()
    assert float(log.max() - log.min()) <= 1.0
    assert float(log.max() - log.min()) > 0.1
    rows = (out - out[0, 0, 0, 0])[0, 0, 1:].log().diff(dim=0)
    assert rows.abs().max() < 0.1


def test_an_empty_image_stays_finite():
    image = torch.full((1, 1, 6, 6), 2.0)
    torch.testing.assert_close(multiply_bias_field(image, torch.tensor([[0.5]]), 1), image)
