from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg.artefacts import ChannelNormalization
from medseg.geometry.volume import Volume
from medseg.preprocessing import Recipe, normalize, preprocess

ZSCORE = ChannelNormalization(scheme="zscore")
NONE = ChannelNormalization(scheme="none")


def volume(shape, spacing, seed=0, channels=1):
    data = np.random.default_rng(seed).gamma(2.0, 50.0, size=(channels, *shape)).astype(np.float32)
    return Volume(data=data, affine=np.diag([*spacing, 1.0]))


def test_ct_by_hand():
    how = ChannelNormalization(scheme="ct", clip=(-100.0, 200.0), mean=50.0, std=25.0)
    data = np.array([[[-1000, 0], [100, 3000]]], dtype=np.int16)
    assert normalize(data, (how,)).tolist() == [[[-6.0, -2.0], [2.0, 6.0]]]


def test_zscore_by_hand():
    data = np.array([[1.0, 1.0, 5.0, 5.0]])  # mean 3, sd 2
    assert normalize(data, (ZSCORE,)).tolist() == [[-1.0, -1.0, 1.0, 1.0]]


def test_zscore_of_non_zero_voxels_leaves_the_rest_zero():
    how = ChannelNormalization(scheme="zscore", mask_nonzero=True)
    data = np.array([[0.0, 0.0, 1.0, 5.0], [0.0, 2.0, 4.0, 6.0]])
    # non-zero in any channel: the last three voxels
    first, second = normalize(data, (how, how))
    assert first[0] == second[0] == 0
    assert first[1:].mean() == pytest.approx(0, abs=1e-6)
    assert first[1:].std() == pytest.approx(1)
    assert second[1:] == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])


def test_channels_are_normalised_apart():
    data = np.array([[1.0, 3.0], [1000.0, 3000.0], [7.0, 9.0]])
    assert normalize(data, (ZSCORE, ZSCORE, NONE)).tolist() == [[-1, 1], [-1, 1], [7, 9]]


@pytest.mark.parametrize("value", [0.0, 0.1, 1.7e6])
def test_a_flat_channel_becomes_zero(value):
    flat = np.full((1, 3, 5, 7), value, dtype=np.float32)
    assert np.abs(normalize(flat, (ZSCORE,))).max() < 1e-3
    empty = ChannelNormalization(scheme="zscore", mask_nonzero=True)
    assert np.abs(normalize(np.zeros((1, 4, 4)), (empty,))).max() == 0


def test_the_number_of_channels_must_agree():
    with pytest.raises(ValueError, match="zip"):
        normalize(np.zeros((2, 4)), (ZSCORE,))


@pytest.mark.parametrize(
    ("shape", "spacing", "target"),
    [
        ((20, 31), (1.0, 1.0), (2.0, 1.5)),
        ((14, 17, 9), (0.7, 0.8, 2.5), (1.0, 1.0, 1.5)),
    ],
)
def test_equal_to_normalising_then_scipys_cubic_zoom(shape, spacing, target):
    case = volume(shape, spacing)
    done = preprocess(case, Recipe(spacing=target, normalization=(ZSCORE,), crop=False))
    data = case.data[0].astype(np.float64)
    data = (data - data.mean()) / data.std()
    zoom = [m / n for m, n in zip(done.grid.shape, shape, strict=True)]
    expected = ndimage.zoom(data, zoom, order=3, mode="reflect", grid_mode=True)
    assert done.image.dtype == np.float32
    assert done.image[0] == pytest.approx(expected, abs=2e-5)
    assert done.grid.spacing == pytest.approx(
        [s * n / m for s, n, m in zip(spacing, shape, done.grid.shape, strict=True)]
    )


def test_statistics_are_those_of_the_content():
    data = np.zeros((1, 8, 8, 8), dtype=np.float32)
    data[0, 2:6, 1:7, 3:5] = np.random.default_rng(0).normal(100, 5, size=(4, 6, 2))
    case = Volume(data=data, affine=np.eye(4))
    done = preprocess(case, Recipe(spacing=(1.0, 1.0, 1.0), normalization=(ZSCORE,)))
    assert (done.crop_start, done.crop_stop) == ((2, 1, 3), (6, 7, 5))
    assert done.image.shape == (1, 4, 6, 2)
    assert done.image.mean() == pytest.approx(0, abs=1e-5)
    assert done.image.std() == pytest.approx(1, abs=1e-5)
    assert np.allclose(done.grid.matrix[:3, 3], (2, 1, 3))


def test_a_given_box_is_used_and_without_crop_none():
    case = volume((6, 6, 6), (1.0, 1.0, 1.0))
    recipe = Recipe(spacing=(1.0, 1.0, 1.0), normalization=(NONE,))
    done = preprocess(case, recipe, ((1, 1, 1), (3, 4, 5)))
    assert np.array_equal(done.image, case.data[:, 1:3, 1:4, 1:5])
    whole = Recipe(spacing=(1.0, 1.0, 1.0), normalization=(NONE,), crop=False)
    assert preprocess(case, whole, ((1, 1, 1), (3, 4, 5))).crop_stop == (6, 6, 6)


def test_the_coarse_axis_is_not_blended():
    case = volume((6, 6, 4), (1.0, 1.0, 5.0))
    recipe = Recipe(spacing=(1.0, 1.0, 2.5), normalization=(NONE,), coarse_axis=2)
    image = preprocess(case, recipe).image
    assert image.shape == (1, 6, 6, 8)
    assert np.array_equal(image[..., ::2], case.data)
    assert np.array_equal(image[..., 1::2], case.data)


def test_linear_order():
    case = volume((9, 8), (1.0, 1.0))
    done = preprocess(case, Recipe(spacing=(0.5, 0.5), normalization=(NONE,), order=1, crop=False))
    expected = ndimage.zoom(case.data[0], 2, order=1, mode="reflect", grid_mode=True)
    assert done.image[0] == pytest.approx(expected, abs=1e-3)


def test_a_single_voxel():
    case = Volume(data=np.full((1, 1, 1, 1), 7, dtype=np.int16), affine=np.eye(4))
    done = preprocess(case, Recipe(spacing=(2.0, 2.0, 2.0), normalization=(ZSCORE,)))
    assert done.image.shape == (1, 1, 1, 1)
    assert done.image.item() == 0
