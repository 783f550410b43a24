import numpy as np
import pytest

from medseg.reporting.outline import outlines


def area(loop):
    """Signed area by the shoelace formula; y points down, so clockwise is positive."""
    x, y = loop[:, 0], loop[:, 1]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2


def test_one_pixel_is_a_square():
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 2] = True
    (loop,) = outlines(mask)
    assert {tuple(p) for p in loop.tolist()} == {(2, 1), (3, 1), (3, 2), (2, 2)}
    assert area(loop) == 1


def test_straight_sides_have_no_points_between_the_corners():
    mask = np.zeros((6, 9), dtype=bool)
    mask[1:4, 2:8] = True
    (loop,) = outlines(mask)
    assert len(loop) == 5
    assert (loop.min(axis=0).tolist(), loop.max(axis=0).tolist()) == ([2, 1], [8, 4])


@pytest.mark.parametrize("density", [0.2, 0.5, 0.8])
def test_the_loops_enclose_exactly_the_mask(density):
    rng = np.random.default_rng(4)
    for _ in range(20):
        mask = rng.random((9, 11)) < density
        loops = outlines(mask)
        assert sum(area(loop) for loop in loops) == mask.sum()
        assert all((loop[0] == loop[-1]).all() for loop in loops)


def test_inside_and_outside_agree_with_matplotlib():
    from matplotlib.path import Path

    rng = np.random.default_rng(5)
    mask = rng.random((8, 10)) < 0.5
    centres = np.argwhere(np.ones_like(mask))[:, ::-1] + 0.5
    crossings = sum(
        Path(loop, closed=True).contains_points(centres).astype(int) for loop in outlines(mask)
    )
    np.testing.assert_array_equal((crossings % 2 == 1).reshape(mask.shape), mask)


def test_a_hole_runs_the_other_way():
    mask = np.ones((5, 5), dtype=bool)
    mask[2, 2] = False
    assert sorted(area(loop) for loop in outlines(mask)) == [-1, 25]


def test_an_empty_mask_has_no_outline():
    assert outlines(np.zeros((3, 3), dtype=bool)) == []
