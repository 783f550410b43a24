import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from medseg.geometry.volume import Grid
from medseg.metrics.shape import (
    largest_axial_diameter,
    largest_diameter,
    structure_volume_ml,
    touched_sides,
)


def oblique(spacing, angle=0.4, axes=(1, 2)):
    turn = np.eye(3)
    a, b = axes
    turn[a, a] = turn[b, b] = math.cos(angle)
    turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = (-31, 12, 170)
    return affine


def ellipsoid(shape, affine, radii, turn):
    """Voxels with centres in an ellipsoid with half axes ``radii`` along ``turn``'s columns."""
    index = np.indices(shape).reshape(3, -1)
    world = affine[:3, :3] @ (index - (np.array(shape)[:, None] - 1.3) / 2)
    inside = (((turn.T @ world) / np.array(radii)[:, None]) ** 2).sum(axis=0) <= 1
    return inside.reshape(shape)


def test_one_voxel_is_as_long_as_its_longest_side():
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, 1] = True
    grid = Grid.of(mask.shape, np.diag([-0.5, 2.0, 3.0, 1.0]))
    found = largest_diameter(mask, grid)
    assert found.length_mm == pytest.approx(3.0)
    assert found.start == pytest.approx((-0.5, 2.0, 1.5))
    assert found.end == pytest.approx((-0.5, 2.0, 4.5))
    axial = largest_axial_diameter(mask, grid)
    assert axial.length_mm == pytest.approx(2.0)
    assert axial.slice_index == 1
    assert structure_volume_ml(mask, grid) == pytest.approx(0.003)


def test_a_bar_across_slices_worked_by_hand():
    mask = np.zeros((6, 6, 6), bool)
    mask[1, 1, 1:5] = True  # 4 voxels of 2 mm towards the head
    mask[1, 1:4, 3] = True  # 3 voxels of 1 mm to the front, in slice 3
    grid = Grid.of(mask.shape, np.diag([1.0, 1.0, 2.0, 1.0]))
    axial = largest_axial_diameter(mask, grid)
    assert (axial.length_mm, axial.slice_index) == (pytest.approx(3.0), 3)
    # from the lower face of (1, 1, 1) to the front face of (1, 3, 3): 2.5 and 5 mm; the bar is 8
    assert largest_diameter(mask, grid).length_mm == pytest.approx(8.0)


def test_axial_is_across_head_foot_however_the_file_is_stored():
    mask = np.zeros((4, 9, 5), bool)
    mask[1:3, 2:8, 1:3] = True
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]])  # axes: A, I, L
    grid = Grid.of(mask.shape, affine)
    found = largest_axial_diameter(mask, grid)
    assert found.length_mm == pytest.approx(math.hypot(2, 1))  # 2 x 2 voxels across axis 1
    assert found.slice_index == 2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(9, 8), (7, 6, 5)])
def test_no_pair_of_mesh_points_is_farther_apart(seed, shape):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < 0.1
    mask.flat[seed] = True
    ndim = len(shape)
    affine = np.eye(ndim + 1)
    affine[:ndim, :ndim] = rng.normal(size=(ndim, ndim))
    found = largest_diameter(mask, Grid.of(shape, affine))
    shifts = np.concatenate([np.eye(ndim), -np.eye(ndim)]) / 2
    points = (np.argwhere(mask)[:, None] + shifts).reshape(-1, ndim) @ affine[:ndim, :ndim].T
    assert found.length_mm == pytest.approx(pdist(points).max())
    assert np.linalg.norm(np.subtract(found.end, found.start)) == pytest.approx(found.length_mm)


def test_agrees_with_the_mesh_of_marching_cubes():
    measure = pytest.importorskip("skimage.measure")
    spacing = (0.8, 1.1, 2.0)
    mask = ellipsoid((40, 34, 22), np.diag([*spacing, 1.0]), (12, 14, 17), np.eye(3))
    vertices, *_ = measure.marching_cubes(np.pad(mask, 1).astype(float), 0.5, spacing=spacing)
    found = largest_diameter(mask, Grid.of(mask.shape, np.diag([*spacing, 1.0])))
    assert found.length_mm == pytest.approx(pdist(vertices).max(), rel=1e-6)


def test_a_digital_sphere_has_the_formulas_size():
    radius, affine = 20.3, np.eye(4)
    mask = ellipsoid((46, 46, 46), affine, (radius,) * 3, np.eye(3))
    grid = Grid.of(mask.shape, affine)
    truth = 4 / 3 * math.pi * radius**3 / 1000
    assert structure_volume_ml(mask, grid) == pytest.approx(truth, rel=0.005)
    assert abs(largest_diameter(mask, grid).length_mm - 2 * radius) < 1
    assert abs(largest_axial_diameter(mask, grid).length_mm - 2 * radius) < 1


def test_an_oblique_ellipsoid_on_an_oblique_grid_has_the_formulas_size():
    spacing, radii = (0.8, 0.9, 1.5), (14.0, 20.0, 27.0)
    affine = oblique(spacing)
    turn = oblique((1, 1, 1), 0.7, (0, 2))[:3, :3] @ oblique((1, 1, 1), 0.5, (0, 1))[:3, :3]
    mask = ellipsoid((68, 68, 44), affine, radii, turn)
    assert not touched_sides(mask, Grid.of(mask.shape, affine))
    grid = Grid.of(mask.shape, affine)
    truth = 4 / 3 * math.pi * math.prod(radii) / 1000
    assert structure_volume_ml(mask, grid) == pytest.approx(truth, rel=0.005)
    assert abs(largest_diameter(mask, grid).length_mm - 2 * max(radii)) < max(spacing)
    # the section by a plane through the centre is an ellipse: M restricted to the plane
    plane = affine[:3, :2] / spacing[:2]
    shape = turn @ np.diag(np.square(np.reciprocal(radii))) @ turn.T
    longest = 2 / math.sqrt(np.linalg.eigvalsh(plane.T @ shape @ plane).min())
    assert abs(largest_axial_diameter(mask, grid).length_mm - longest) < max(spacing)


def test_flips_and_turns_of_the_stored_axes_change_nothing():
    affine = oblique((0.8, 0.9, 1.5))
    mask = np.random.default_rng(4).random((20, 24, 14)) < 0.02  # no two pairs of equal distance
    turned = mask.transpose(2, 0, 1)[:, ::-1]
    index = np.eye(4)[[1, 2, 0, 3]]  # stored index -> turned axes' order
    index[0] = [0, -1, 0, mask.shape[0] - 1]
    first, second = Grid.of(mask.shape, affine), Grid.of(turned.shape, affine @ index)
    a, b = largest_diameter(mask, first), largest_diameter(turned, second)
    assert a.length_mm == pytest.approx(b.length_mm)
    assert a.start == pytest.approx(b.start)
    a, b = largest_axial_diameter(mask, first), largest_axial_diameter(turned, second)
    assert (a.length_mm, a.slice_index) == (pytest.approx(b.length_mm), b.slice_index)


def test_an_empty_mask_has_no_diameter_and_touches_nothing():
    mask, grid = np.zeros((4, 4, 4), bool), Grid.of((4, 4, 4), np.eye(4))
    assert structure_volume_ml(mask, grid) == 0
    assert largest_diameter(mask, grid) is None
    assert largest_axial_diameter(mask, grid) is None
    assert touched_sides(mask, grid) == ()


def test_sides_are_named_by_the_patient_and_not_by_the_array():
    mask = np.zeros((4, 5, 6), bool)
    mask[0, 2, 3] = mask[2, 4, 3] = True
    assert touched_sides(mask, Grid.of(mask.shape, np.eye(4))) == ("L", "A")
    assert touched_sides(mask, Grid.of(mask.shape, np.diag([-1.0, -1, 1, 1]))) == ("R", "P")


def test_a_photograph_is_one_slice_and_counts_pixels():
    mask = np.zeros((5, 6), bool)
    mask[1:3, 1:5] = True
    grid = Grid.of(mask.shape, np.eye(3))
    assert structure_volume_ml(mask, grid) == 8
    assert largest_axial_diameter(mask, grid).length_mm == pytest.approx(math.hypot(4, 1))
