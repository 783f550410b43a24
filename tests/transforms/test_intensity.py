from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from medseg.transforms import intensity

BOTH = pytest.mark.parametrize("shape", [(2, 2, 12, 9), (2, 2, 8, 9, 10)])


def some(shape) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@BOTH
def test_blur_equals_scipy(shape):
    image, sigma = some(shape), torch.tensor([[0.5, 1.0], [0.8, 0.0]])
    ours = intensity.blur(image, sigma).numpy()
    for i, row in enumerate(sigma.tolist()):
        for c, s in enumerate(row):
            source = image[i, c].numpy()
            expected = gaussian_filter(source, s, mode="nearest", radius=3) if s else source
            np.testing.assert_allclose(ours[i, c], expected, atol=1e-5)


@BOTH
def test_neutral_values_change_nothing(shape):
    image, one = some(shape), torch.ones(2, 2)
    for change in (
        intensity.scale_brightness,
        intensity.scale_contrast,
        intensity.lower_resolution,
        intensity.change_gamma,
        intensity.change_gamma_inverted,
    ):
        torch.testing.assert_close(change(image, one), image, atol=1e-5, rtol=1e-4)
    assert torch.equal(intensity.add_noise(image, torch.zeros(2, 2), 3), image)


def test_noise_has_the_variance_and_follows_its_seed():
    image, variance = torch.zeros(2, 1, 64, 64), torch.tensor([[0.04], [0.0]])
    noisy = intensity.add_noise(image, variance, 5)
    assert noisy[0].var().item() == pytest.approx(0.04, rel=0.1)
    assert noisy[1].abs().sum() == 0
    assert torch.equal(noisy, intensity.add_noise(image, variance, 5))
    assert not torch.equal(noisy, intensity.add_noise(image, variance, 6))


def test_contrast_by_hand():
    image = torch.tensor([[[0.0, 1.0, 2.0, 5.0]]])
    halved = intensity.scale_contrast(image, torch.tensor([[0.5]]))
    assert halved.flatten().tolist() == [1.0, 1.5, 2.0, 3.5]
    doubled = intensity.scale_contrast(image, torch.tensor([[2.0]]))
    assert doubled.flatten().tolist() == [0.0, 0.0, 2.0, 5.0]  # the range is kept


@pytest.mark.parametrize("change", [intensity.change_gamma, intensity.change_gamma_inverted])
def test_gamma_keeps_mean_and_spread_and_order(change):
    image = some((1, 2, 10, 10))
    changed = change(image, torch.tensor([[0.7, 1.5]]))
    torch.testing.assert_close(changed.mean((2, 3)), image.mean((2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(changed.std((2, 3)), image.std((2, 3)), atol=1e-5, rtol=1e-4)
    assert torch.equal(changed.flatten(2).argsort(-1), image.flatten(2).argsort(-1))
    assert (changed - image).abs().max() > 0.01


@BOTH
def test_gamma_is_a_power_of_the_values_between_0_and_1(shape):
    image, gamma = some(shape), torch.tensor([[0.7, 1.5], [1.2, 0.9]])
    changed = intensity.change_gamma(image, gamma).numpy()
    for i, row in enumerate(gamma.tolist()):
        for c, exponent in enumerate(row):
            source = image[i, c].double().numpy()
            power = ((source - source.min()) / (source.max() - source.min())) ** exponent
            expected = (power - power.mean()) / power.std() * source.std() + source.mean()
            np.testing.assert_allclose(changed[i, c], expected, atol=1e-5)


def test_gamma_of_a_constant_image_is_that_image():
    image = torch.full((1, 1, 4, 4), 2.0)
    torch.testing.assert_close(intensity.change_gamma(image, torch.tensor([[1.5]])), image)


def test_lower_resolution_repeats_what_is_left_and_keeps_one_voxel_axes():
    image = torch.arange(8.0).reshape(1, 1, 1, 8)
    low = intensity.lower_resolution(image, torch.tensor([[0.5]]))
    assert low.shape == image.shape
    assert low[0, 0, 0, 0] in (0.0, 1.0)
    assert len(low.unique()) < 9
    assert (low - image).abs().max() <= 1


@pytest.mark.parametrize("shape", [(12, 9), (13, 10, 9), (1, 12, 10)])
@pytest.mark.parametrize("zoom", [0.05, 0.5, 0.61, 0.93])
def test_lower_resolution_is_torchs_nearest_down_and_linear_up(shape, zoom):
    image = some((1, 1, *shape))
    small = [max(1, round(n * zoom)) for n in shape]
    mode = {2: "bilinear", 3: "trilinear"}[len(shape)]
    coarse = torch.nn.functional.interpolate(image, small, mode="nearest-exact")
    expected = torch.nn.functional.interpolate(coarse, shape, mode=mode, align_corners=False)
    low = intensity.lower_resolution(image, torch.tensor([[zoom]]))
    torch.testing.assert_close(low, expected, atol=1e-5, rtol=0)


def test_lower_resolution_leaves_other_axes_alone():
    image = some((1, 1, 8, 6, 8))
    low = intensity.lower_resolution(image, torch.tensor([[0.5]]), axes=(0, 2))
    for k in range(6):
        plane = intensity.lower_resolution(image[..., k, :], torch.tensor([[0.5]]))
        torch.testing.assert_close(low[..., k, :], plane)
