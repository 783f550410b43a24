import numpy as np
import pytest

from medseg.phantom.shapes import Blob, Space, Tube, smooth_union, superellipse, turn_about


def points(*xyz):
    return np.array(xyz, dtype=np.float32).T.reshape(3, -1, 1, 1)


def ball(radii, *, center=(0, 0, 0), turn=None, wobble=None):
    return Blob(
        center=np.array(center, dtype=float),
        radii=np.array(radii, dtype=float),
        turn=np.eye(3) if turn is None else turn,
        wobble=np.zeros(8) if wobble is None else wobble,
    )


def test_level_of_a_ball_is_the_distance_to_its_surface():
    level = ball((10, 10, 10)).level(points((0, 0, 4), (10, 0, 0), (0, 13, 0)))
    assert level.ravel() == pytest.approx([-6, 0, 3], abs=1e-3)


def test_wobble_along_x_makes_one_side_longer():
    wobble = np.zeros(8)
    wobble[0] = 0.2  # radius 12 towards +x, 8 towards -x
    level = ball((10, 10, 10), wobble=wobble).level(points((12, 0, 0), (-8, 0, 0), (0, 10, 0)))
    assert level.ravel() == pytest.approx([0, 0, 0], abs=1e-3)


def test_turned_ellipsoid_points_the_other_way():
    long_x = ball((20, 5, 5), turn=turn_about((0, 0, 90)))
    assert long_x.level(points((0, 19, 0))).item() < 0 < long_x.level(points((19, 0, 0))).item()


def test_tube_thins_from_one_end_to_the_other():
    tube = Tube(np.array([[0.0, 0, 0], [0, 0, 10]]), np.array([4.0, 2.0]))
    level = tube.level(points((4, 0, 0), (3, 0, 5), (2, 0, 10), (0, 0, 13)))
    assert level.ravel() == pytest.approx([0, 0, 0, 1], abs=1e-5)


def test_superellipse_has_its_half_widths():
    level = superellipse(points((30, 0, 7), (0, 20, -7), (0, 0, 0)), (30, 20))
    assert level.ravel() == pytest.approx([0, 0, -20], abs=1e-4)


def test_smooth_union_is_the_minimum_away_from_the_seam():
    a, b = np.float32([-30, 5, 0]), np.float32([20, 40, 0])
    assert smooth_union(a, b, 10) == pytest.approx([-30, 5, -2.5])


@pytest.mark.parametrize("angle", [0, 25])
def test_box_holds_all_of_a_blob(angle):
    pose = turn_about((angle, -angle, angle))
    space = Space.of((40, 36, 30), (2, 2, 3), (-40, -36, -45), pose)
    blob = ball((9, 14, 6), center=(8, -6, 10), turn=turn_about((0, 30, 40)))
    inside = blob.level(space.points) < 0
    box = blob.box(space)
    assert inside.sum() > 50
    assert inside[box].sum() == inside.sum()
    assert inside[box].size < inside.size / 2
