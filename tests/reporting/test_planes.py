import math

import numpy as np
import pytest

from medseg.geometry.volume import Grid
from medseg.reporting.planes import (
    AXIAL,
    CORONAL,
    PHOTOGRAPH,
    SAGITTAL,
    clearest_index,
    pixel_size,
    section,
    tilt_degrees,
    views_of,
    worst_index,
)

SIDE_OF = {"L": (0, 0), "R": (0, -1), "P": (1, 0), "A": (1, -1), "I": (2, 0), "S": (2, -1)}
"""Canonical axis and end of each letter: axes point to Right, Anterior, Superior."""


@pytest.mark.parametrize("view", [AXIAL, CORONAL, SAGITTAL])
def test_each_letter_stands_where_that_side_of_the_body_is(view):
    for letter, corner in zip(
        view.letters, (np.s_[:, 0], np.s_[:, -1], np.s_[0, :], np.s_[-1, :]), strict=True
    ):
        axis, end = SIDE_OF[letter]
        body = np.zeros((3, 4, 5))
        body[(slice(None),) * axis + (end,)] = 1
        assert section(body, view, 1)[corner].all(), (view.name, letter)


def test_the_patients_right_front_is_at_the_top_left_of_an_axial_slice():
    body = np.zeros((3, 4, 5))
    body[2, 3, 1] = 1
    assert np.argwhere(section(body, AXIAL, 1)).tolist() == [[0, 0]]


def test_a_photograph_is_shown_as_it_is():
    image = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(section(image, PHOTOGRAPH, 0), image)
    assert views_of(2) == (PHOTOGRAPH,)


def test_pixels_keep_the_proportions_of_the_body():
    grid = Grid.of((4, 4, 4), np.diag([1.0, 2.0, 5.0, 1.0]))
    assert pixel_size(grid, AXIAL) == (1.0, 2.0)
    assert pixel_size(grid, CORONAL) == (1.0, 5.0)
    assert pixel_size(grid, SAGITTAL) == (2.0, 5.0)


def test_the_clearest_slice_shows_small_structures_too():
    large, small = np.zeros((2, 6, 6, 9), dtype=bool)
    large[:, :, 1:8] = True  # the same in slices 1 to 7
    small[3, 3, 6] = True
    assert clearest_index([large, small], 2) == 6


def test_without_structures_the_middle_is_shown():
    assert clearest_index([np.zeros((4, 4, 9), dtype=bool)], 2) == 4


def test_the_worst_slice_has_the_most_differing_voxels():
    differing = np.zeros((4, 4, 9), dtype=bool)
    differing[0, 0, 2] = differing[:3, 0, 5] = True
    assert worst_index([differing, differing], 2) == 5


def test_a_tilted_scan_is_noticed():
    angle = math.radians(20)
    affine = np.eye(4)
    affine[1:3, 1:3] = [
        [math.cos(angle), -math.sin(angle)],
        [math.sin(angle), math.cos(angle)],
    ]
    affine[:3, :3] *= [1.0, 2.0, 3.0]
    assert tilt_degrees(Grid.of((3, 3, 3), affine)) == pytest.approx(20)
    assert tilt_degrees(Grid.of((3, 3, 3), np.diag([1.0, 2.0, 3.0, 1.0]))) == 0
    assert tilt_degrees(Grid.of((3, 3), np.eye(3))) == 0
