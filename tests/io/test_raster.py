import numpy as np
import pytest
from matplotlib.path import Path as Outline

from medseg.io.raster import fill_ellipse, fill_polygons, mask_of_runs, runs_of_text


def test_pixel_belongs_to_the_outline_that_holds_its_centre():
    triangle = [(0, 0), (4, 0), (0, 4)]  # x + y < 4
    expected = [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert fill_polygons([triangle], (4, 4)).astype(int).tolist() == expected
    assert fill_polygons([triangle[::-1]], (4, 4)).astype(int).tolist() == expected


def test_two_halves_share_no_pixel_and_leave_none_out():
    left = fill_polygons([[(0, 0), (2.5, 0), (4.5, 6), (0, 6)]], (6, 7))
    right = fill_polygons([[(2.5, 0), (7, 0), (7, 6), (4.5, 6)]], (6, 7))
    assert not (left & right).any()
    assert (left | right).all()


def test_outline_within_an_outline_is_a_hole():
    outer, inner = [(0, 0), (5, 0), (5, 5), (0, 5)], [(1, 1), (4, 1), (4, 4), (1, 4)]
    ring = fill_polygons([outer, inner], (5, 5))
    assert ring.sum() == 25 - 9
    assert not ring[1:4, 1:4].any()


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_matplotlib_on_random_stars(seed):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
    radius = rng.uniform(3, 14, 9)
    corners = np.stack([12 + radius * np.cos(angle), 9 + radius * np.sin(angle)], axis=1)
    y, x = np.mgrid[:19, :25] + 0.5
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    inside = Outline(np.vstack([corners, corners[:1]]), closed=True).contains_points(centres)
    assert (fill_polygons([corners], (19, 25)) == inside.reshape(19, 25)).all()


def test_what_lies_outside_the_image_is_cut_off():
    assert fill_polygons([[(-3, -3), (9, -3), (9, 9), (-3, 9)]], (2, 3)).all()
    assert not fill_polygons([[(5, 5), (9, 5), (9, 9)]], (2, 3)).any()
    assert not fill_polygons([[(0, 0), (3, 2)], []], (2, 3)).any()


def test_ellipse_is_as_wide_as_its_radii():
    mask = fill_ellipse((3.5, 2.5), (3, 1), (5, 7))
    assert mask.sum(axis=1).tolist() == [0, 1, 7, 1, 0]
    assert mask[1, 3]
    assert mask[3, 3]


def test_runs_go_down_columns_and_start_with_zeros():
    assert mask_of_runs([0, 2, 4], (2, 3)).astype(int).tolist() == [[1, 0, 0], [1, 0, 0]]
    with pytest.raises(ValueError, match="runs of 5 pixels do not fit 2 x 3"):
        mask_of_runs([1, 4], (2, 3))


@pytest.mark.parametrize(
    ("text", "counts"), [("::50:", [10, 10, 5, 10, 15]), ("1d03^O", [1, 20, 3, 2]), ("", [])]
)
def test_compressed_runs_worked_by_hand(text, counts):
    assert runs_of_text(text) == counts
