from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.geometry.resample import (
    axis_weights,
    resample_image,
    resample_label,
    resampled_grid,
)
from medseg.geometry.volume import Grid
from medseg.labels import IGNORE_INDEX

SHAPES = [
    ((7, 9, 11), (13, 4, 11)),  # up, down, same
    ((24, 20, 6), (12, 31, 17)),
    ((3, 64, 2), (7, 10, 3)),
    ((30, 20), (17, 45)),
    ((1, 5, 6), (3, 9, 2)),  # one voxel along an axis
    ((2, 3, 4), (1, 1, 1)),
]


def zoomed(data: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    factors = [m / n for m, n in zip(shape, data.shape[1:], strict=True)]
    zoom = ndimage.zoom
    return np.stack([zoom(c, factors, order=order, mode="reflect", grid_mode=True) for c in data])


@pytest.mark.parametrize(("old", "new"), SHAPES)
@pytest.mark.parametrize("order", [1, 3])
def test_image_equals_scipy_on_the_pixel_area_grid(old, new, order):
    data = np.random.default_rng(0).standard_normal((2, *old)).astype(np.float32)
    result = resample_image(data, new, order=order)
    assert result.dtype == np.float32
    tiny = order == 3 and min(old) < 5  # scipy's prefilter is approximate there
    np.testing.assert_allclose(result, zoomed(data, new, order), atol=2e-3 if tiny else 1e-5)


@pytest.mark.parametrize("old", [2, 3, 4, 9, 50])
def test_cubic_spline_is_exact_for_any_length(old):
    rows = axis_weights(old, 3 * old, 3)[1::3]  # every third new centre is an old centre
    np.testing.assert_allclose(rows, np.eye(old), atol=1e-6)


def test_linear_by_hand():
    data = np.array([[0, 4, 8]], np.int16)
    # new centres at old indices -0.25, 0.25, 0.75, 1.25, 1.75, 2.25
    assert resample_image(data, (6,), order=1).tolist() == [[0, 1, 3, 5, 7, 8]]


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize(("old", "new"), [(5, 13), (13, 5), (1, 4), (6, 6), (2, 3)])
def test_weights_sum_to_one_and_are_symmetric(old, new, order):
    weights = axis_weights(old, new, order)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    if order or new % 2 == old % 2:  # the nearest of two equally near voxels is the upper one
        np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-6)
    if old == new:
        np.testing.assert_allclose(weights, np.eye(old), atol=1e-6)


def test_same_shape_is_returned_bit_by_bit():
    data = np.random.default_rng(0).standard_normal((1, 4, 5, 6)).astype(np.float32)
    np.testing.assert_array_equal(resample_image(data, (4, 5, 6)), data)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_coarse_axis_takes_whole_slices(axis):
    old, new = [9, 8, 7], [14, 5, 9]
    old[axis], new[axis] = 6, 14
    data = np.random.default_rng(0).standard_normal((1, *old)).astype(np.float32)
    result = resample_image(data, new, coarse_axis=axis)
    nearest = np.floor((np.arange(14) + 0.5) * 6 / 14).astype(int)
    flat = list(new)
    flat[axis] = 6
    expected = zoomed(data, tuple(flat), 3).take(nearest, axis=axis + 1)
    np.testing.assert_allclose(result, expected, atol=1e-5)


def one_hot_argmax(label: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """All classes at once by torch, as an independent reference."""
    classes = int(label.max()) + 1
    masks = torch.from_numpy(np.stack([label == c for c in range(classes)])[np.newaxis]).double()
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[label.ndim]
    probs = torch.nn.functional.interpolate(masks, size=shape, mode=mode, align_corners=False)[0]
    return probs.numpy()


@pytest.mark.parametrize(("old", "new"), [s for s in SHAPES if s[1] != (1, 1, 1)])
def test_label_is_the_argmax_of_linear_one_hots(old, new):
    rng = np.random.default_rng(1)
    label = rng.choice([0, 1, 2, 5], size=old).astype(np.int16)
    result = resample_label(label, new)
    probs = one_hot_argmax(label, new)
    top = np.sort(probs, axis=0)[-2:]
    clear = top[1] - top[0] > 1e-4
    assert clear.mean() > 0.3
    np.testing.assert_array_equal(result[clear], probs.argmax(axis=0)[clear])
    chosen = np.take_along_axis(probs, result[np.newaxis].astype(int), axis=0)[0]
    assert (chosen >= top[1] - 1e-4).all()  # among equals, one of the strongest
    assert result.dtype == np.int16


def test_background_is_weighed_only_where_an_object_reaches():
    label = np.zeros((9, 12, 7), np.int16)
    label[2:7, 6:, 3:] = 4  # at two borders
    for new in ((20, 25, 7), (4, 5, 3)):
        expected = one_hot_argmax(label, new).argmax(axis=0)
        assert set(np.unique(expected)) == {0, 4}
        np.testing.assert_array_equal(resample_label(label, new), expected)
    assert not resample_label(np.zeros((5, 5), np.int16), (9, 8)).any()


def test_label_tie_goes_to_the_lower_index():
    assert resample_label(np.array([0, 1, 2, 1], np.int16), (2,)).tolist() == [0, 1]
    assert resample_label(np.array([3, 0], np.int16), (1,)).tolist() == [0]


def test_ignored_voxels_spread_by_nearest_neighbour():
    label = np.array([1, 1, IGNORE_INDEX, IGNORE_INDEX, 0, 2], np.int16)
    expected = [1, 1, 1, 1, -1, -1, -1, -1, 0, 0, 2, 2]
    assert resample_label(label, (12,)).tolist() == expected
    assert (resample_label(np.full((3, 3), -1, np.int16), (5, 2)) == -1).all()


def test_label_along_the_coarse_axis_is_not_blended():
    label = np.zeros((2, 4, 4), np.int16)
    label[1] = 3
    result = resample_label(label, (5, 4, 4), coarse_axis=0)
    assert result[:, 0, 0].tolist() == [0, 0, 3, 3, 3]


def test_grid_keeps_the_field_of_view():
    affine = np.array([[0, -0.8, 0, 10], [0.8, 0, 0, -5], [0, 0, 2.5, 3], [0, 0, 0, 1.0]])
    grid = Grid.of((256, 200, 33), affine)
    new = resampled_grid(grid, (1.0, 1.5, 1.0))
    assert new.shape == (205, 107, 82)  # 204.8, 106.7, 82.5 rounded to even
    np.testing.assert_allclose(
        np.multiply(new.shape, new.spacing), np.multiply(grid.shape, grid.spacing)
    )
    for corner in ([0, 0, 0], [1, 1, 1]):  # outer corners of the first and last voxel
        old_corner = affine @ [*(np.array(corner) * grid.shape - 0.5), 1]
        new_corner = new.matrix @ [*(np.array(corner) * new.shape - 0.5), 1]
        np.testing.assert_allclose(new_corner, old_corner)
    shift = new.matrix[:3, 3] - affine[:3, 3]
    step = np.subtract(new.spacing, grid.spacing) / 2
    np.testing.assert_allclose(shift, affine[:3, :3] / grid.spacing @ step)


def test_grid_never_vanishes_and_refuses_nonsense():
    grid = Grid.of((3, 3), np.eye(3))
    assert resampled_grid(grid, (100, 1)).shape == (1, 3)
    assert resampled_grid(grid, (100, 1)).spacing == (3, 1)
    assert resampled_grid(grid, (1, 1)) == grid
    for spacing in [(0, 1), (1, 1, 1), (float("nan"), 1)]:
        with pytest.raises(ValueError, match="must be 2 positive numbers"):
            resampled_grid(grid, spacing)
    with pytest.raises(ValueError, match="cannot resample"):
        resample_image(np.zeros((1, 3, 3)), (3, 3, 3))


def test_memory_of_many_classes_does_not_grow_with_their_number():
    import tracemalloc

    label = np.zeros((40, 40, 40), np.int16)
    label[:8, :8, :8].flat = np.arange(512) % 300
    tracemalloc.start()
    resample_label(label, (60, 60, 60))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 60**3 * 4  # eight full-size float32 volumes, against 300
