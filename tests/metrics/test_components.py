import numpy as np
import pytest

from medseg.metrics.components import count_components


def test_corners_connect_in_2d_and_3d():
    flat = np.zeros((5, 5), dtype=bool)
    flat[0, 0] = flat[1, 1] = flat[4, 4] = True
    assert count_components(flat) == 2
    solid = np.zeros((5, 5, 5), dtype=bool)
    solid[0, 0, 0] = solid[1, 1, 1] = solid[4, 4, 4] = True
    assert count_components(solid) == 2


@pytest.mark.parametrize("shape", [(9, 8), (6, 7, 5)])
def test_agrees_with_scipy_on_random_masks(shape):
    from scipy import ndimage

    rng = np.random.default_rng(1)
    for _ in range(10):
        mask = rng.random(shape) < 0.15
        _, expected = ndimage.label(mask, np.ones((3,) * len(shape)))
        assert count_components(mask) == expected


def test_a_strided_view_is_counted_like_a_copy():
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[::4, ::4, ::4] = True
    assert count_components(mask[::2, ::-1].transpose(2, 0, 1)) == 8


def test_nothing_has_no_components():
    assert count_components(np.zeros((3, 3), dtype=bool)) == 0
