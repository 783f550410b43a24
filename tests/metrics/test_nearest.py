import numpy as np
import pytest
from scipy.spatial.distance import cdist

from medseg.metrics import nearest as module
from medseg.metrics.nearest import Lattice, nearest


def two_sets(rng, shape):
    start, goal = rng.random((2, *shape)) < rng.uniform(0.01, 0.6)
    goal.flat[rng.integers(goal.size)] = True
    return start, goal


def by_definition(start, goal, to_world):
    points = [np.argwhere(mask) @ to_world.T for mask in (start, goal)]
    return cdist(*points).min(axis=1)


def by_lattice(start, goal, to_world):
    lattice = Lattice(start.shape, to_world)
    bitmaps = [lattice.bitmap(mask) for mask in (start, goal)]
    cells = [lattice.cells(bitmap) for bitmap in bitmaps]
    return lattice.distances(cells[0], bitmaps[1], cells[1])


@pytest.mark.parametrize("patience", [-1.0, 0.25, 1e9], ids=["tree", "both", "ball"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_ball_and_tree_agree_with_all_pairs(monkeypatch, ndim, patience):
    monkeypatch.setattr(module, "PATIENCE", patience)
    rng = np.random.default_rng(ndim)
    for _ in range(40):
        shape = rng.integers(1, (60, 20, 9)[ndim - 1], ndim)
        to_world = rng.normal(size=(ndim, ndim)) + 2 * np.eye(ndim)  # sheared
        start, goal = two_sets(rng, shape)
        found = by_lattice(start, goal, to_world)
        np.testing.assert_allclose(found, by_definition(start, goal, to_world), atol=1e-9, rtol=0)


def test_a_ball_too_small_leaves_the_rest_to_the_tree(monkeypatch):
    monkeypatch.setattr(module, "OFFSETS", 7)
    monkeypatch.setattr(module, "PATIENCE", 1e9)
    asked = []
    monkeypatch.setattr(
        module, "nearest", lambda *args: asked.append(len(args[0])) or nearest(*args)
    )
    start, goal = np.zeros((2, 30, 5), dtype=bool)
    start[[0, 1, 20], 2] = goal[0, 2] = True
    to_world = np.diag([1.5, 1.0])
    np.testing.assert_array_equal(by_lattice(start, goal, to_world), [0.0, 1.5, 30.0])
    assert asked == [1]


def test_an_offset_never_reaches_round_the_edge_of_a_row():
    start, goal = np.zeros((2, 3, 4), dtype=bool)
    start[0, 3] = goal[1, 0] = goal[2, 3] = True  # flat, (1, 0) comes right behind (0, 3)
    np.testing.assert_array_equal(by_lattice(start, goal, np.eye(2)), [2.0])


def test_the_border_of_a_block():
    lattice = Lattice((4, 5), np.eye(2))
    mask = np.zeros((4, 5), dtype=bool)
    mask[0:3, 1:4] = True
    border, cells = lattice.border(lattice.bitmap(mask))
    expected = mask.copy()
    expected[1, 2] = False
    np.testing.assert_array_equal(lattice.block(border), expected)
    np.testing.assert_array_equal(lattice.points(cells), np.argwhere(expected))
    np.testing.assert_array_equal(lattice.cells(border), cells)


def test_no_start_gives_no_distance():
    empty, full = np.zeros((3, 3), dtype=bool), np.ones((3, 3), dtype=bool)
    assert by_lattice(empty, full, np.eye(2)).shape == (0,)


def test_equal_sets_are_at_distance_0():
    mask = np.random.default_rng(0).random((6, 7, 8)) < 0.3
    assert not by_lattice(mask, mask, np.diag([0.3, 2.0, 1.0])).any()
