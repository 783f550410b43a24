import numpy as np
import pytest
from skimage.measure import points_in_poly

from medseg.dicom_out.contours import outline


def filled(polygons, shape):
    """Return the voxel centres inside an odd number of polygons."""
    centres = np.argwhere(np.ones(shape, bool))
    count = np.zeros(len(centres), int)
    for polygon in polygons:
        count += points_in_poly(centres, polygon)
    return (count % 2 == 1).reshape(shape)


def test_one_pixel_is_a_diamond():
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    (polygon,) = outline(mask)
    assert sorted(map(tuple, polygon.tolist())) == [(0.5, 2), (1, 1.5), (1, 2.5), (1.5, 2)]


def test_a_straight_side_has_two_points():
    mask = np.zeros((5, 9), bool)
    mask[1:4, 1:8] = True
    (polygon,) = outline(mask)
    assert len(polygon) == 8


def test_a_ring_is_one_polygon_with_a_keyhole():
    mask = np.ones((7, 8), bool)
    mask[2:5, 2:4] = False
    mask[3, 6] = False
    polygons = outline(mask)
    assert len(polygons) == 1
    assert np.array_equal(filled(polygons, mask.shape), mask)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_inside_is_the_mask(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((13, 11)) < (0.3, 0.6, 0.85)[seed % 3]
    assert np.array_equal(filled(outline(mask), mask.shape), mask)


def test_an_empty_mask_has_no_outline():
    assert outline(np.zeros((4, 4), bool)) == []
