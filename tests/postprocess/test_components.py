from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg.postprocess.components import (
    fill_holes,
    foreground_box,
    keep_components,
    label_components,
)


def drawn(text):
    return np.array([[c == "#" for c in row] for row in text.split()])


TWO = drawn("""
##..#
##...
..#..
""")  # the pixel at (2, 2) touches the square over a corner; (0, 4) stands apart


def test_corners_join_components_2d():
    labels, sizes = label_components(TWO)
    assert sorted(sizes.tolist()) == [0, 1, 5]
    assert labels[2, 2] == labels[0, 0] != labels[0, 4]


def test_corners_join_components_3d():
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 0] = True
    assert len(label_components(mask)[1]) == 2  # one component of 26-connected voxels


def test_largest_stays():
    assert np.array_equal(
        keep_components(TWO, keep_largest=True),
        drawn("""
        ##...
        ##...
        ..#..
        """),
    )


def test_of_two_equal_ones_the_first_stays():
    mask = drawn("#.#")
    assert np.array_equal(keep_components(mask, keep_largest=True), drawn("#.."))


@pytest.mark.parametrize(("min_voxels", "left"), [(0, 6), (1, 6), (1.5, 5), (5, 5), (5.1, 0)])
def test_small_components_go(min_voxels, left):
    assert keep_components(TWO, min_voxels=min_voxels).sum() == left


def test_a_largest_component_that_is_too_small_goes_too():
    assert not keep_components(TWO, keep_largest=True, min_voxels=6).any()


def test_hole_is_filled():
    mask = drawn("""
    ####..
    #..#..
    ####..
    #...#.
    #####.
    """)
    expected = drawn("""
    ####..
    ####..
    ####..
    #####.
    #####.
    """)  # the lower ring is closed as well: (2, 3) and (3, 4) touch over a corner
    assert np.array_equal(fill_holes(mask), expected)


def test_a_bay_is_not_filled():
    open_ring = drawn("""
    ###
    #..
    ###
    """)
    assert np.array_equal(fill_holes(open_ring), open_ring)


@pytest.mark.parametrize("shape", [(24, 20), (14, 12, 10)])
def test_agrees_with_scipy(shape):
    rng = np.random.default_rng(0)
    for threshold in (0.35, 0.5, 0.6):
        mask = rng.random(shape) < threshold
        every = np.ones((3,) * mask.ndim)
        labels, count = ndimage.label(mask, structure=every)
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        assert len(label_components(mask)[1]) == count + 1
        assert np.array_equal(keep_components(mask, keep_largest=True), labels == sizes.argmax())
        assert np.array_equal(keep_components(mask, min_voxels=3), (sizes >= 3)[labels])
        assert np.array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_empty_mask_stays_empty(shape):
    empty = np.zeros(shape, bool)
    assert foreground_box(empty) is None
    for result in (fill_holes(empty), keep_components(empty, keep_largest=True, min_voxels=2)):
        assert result.shape == shape
        assert not result.any()


def test_the_input_is_not_changed():
    mask = TWO.copy()
    keep_components(mask, keep_largest=True)
    fill_holes(mask)
    assert np.array_equal(mask, TWO)


def test_box_by_hand():
    mask = np.zeros((5, 6, 4), bool)
    mask[1, 2, 3] = mask[3, 4, 3] = True
    assert foreground_box(mask) == (slice(1, 4), slice(2, 5), slice(3, 4))


@pytest.mark.parametrize("shape", [(7, 9), (63, 65), (8, 8), (7, 9, 5)])
def test_labels_are_those_of_scipy_at_odd_widths_too(shape):
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random(shape) < 0.4
        ours, _ = label_components(mask)
        theirs, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
        pairs = set(zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True))
        assert len(pairs) == count + 1
