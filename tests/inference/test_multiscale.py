"""The mean over several sizes of an image."""

from __future__ import annotations

import pytest
import torch

from medseg.inference.multiscale import multiscale_logits, scaled


@pytest.mark.parametrize("size", [(6, 9), (4, 5, 6)])
@pytest.mark.parametrize("regions", [False, True])
def test_a_network_blind_to_size_says_the_same(size, regions):
    logits = torch.tensor([2.0, -1.0, 0.5])

    def predict(image):
        return logits.reshape(3, *(1,) * len(size)).expand(3, *image.shape[1:])

    found = multiscale_logits(torch.rand(2, *size), [0.5, 1.0, 1.7], predict, regions=regions)
    assert found.shape == (3, *size)
    probs = found.sigmoid() if regions else found.softmax(0)
    known = logits.sigmoid() if regions else logits.softmax(0)
    assert torch.allclose(probs.flatten(1)[:, 0], known, atol=1e-5)


def test_probabilities_are_averaged_not_logits():
    def predict(image):  # sure of class 0 at full size, a little for class 1 at half of it
        value = 10.0 if image.shape[1] == 4 else -1.0
        return torch.stack((torch.full(image.shape[1:], value), torch.zeros(image.shape[1:])))

    found = multiscale_logits(torch.zeros(1, 4, 4), [1.0, 0.5], predict, regions=False)
    p = (torch.tensor(10.0).sigmoid() + torch.tensor(-1.0).sigmoid()) / 2
    assert found.softmax(0)[0, 0, 0].item() == pytest.approx(p.item(), abs=1e-5)


def test_one_scale_is_the_network_itself():
    image = torch.rand(3, 5, 5)
    found = multiscale_logits(image, [1.0], lambda x: 3 * x, regions=False)
    assert torch.allclose(found.softmax(0), (3 * image).softmax(0), atol=1e-6)
    assert torch.isfinite(multiscale_logits(image, [1.0], lambda x: 1e4 * x, regions=True)).all()


def test_scaling_keeps_the_mean_and_one_pixel_is_enough():
    ramp = torch.arange(8.0).reshape(1, 1, 8).expand(1, 4, 8)
    half = scaled(ramp, (2, 4))
    assert half[0, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    assert scaled(ramp, (4, 8)) is ramp
    done = multiscale_logits(torch.rand(1, 1, 1), [0.25, 1.0], lambda x: x, regions=True)
    assert done.shape == (1, 1, 1)
