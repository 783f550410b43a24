from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from medseg.geometry.orientation import (
    GridMismatchError,
    axis_codes,
    reorient_to,
    same_voxels,
    to_closest_ras,
)
from medseg.geometry.volume import Grid, Volume


def signed_permutations() -> list[np.ndarray]:
    matrices = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        matrix = np.eye(4)
        matrix[:3, :3] = np.eye(3)[list(order)] * np.array(signs)
        matrices.append(matrix)
    return matrices


def random_affine(seed: int) -> np.ndarray:
    """A rotation of any size, unequal spacing, some shear and an offset."""
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = (
        rotation @ (np.eye(3) + 0.05 * rng.standard_normal((3, 3))) * rng.uniform(0.4, 6, 3)
    )
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine


def test_by_hand():
    affine = np.array([[0, 0, -3.0, 10], [2.0, 0, 0, 20], [0, -1.0, 0, 30], [0, 0, 0, 1]])
    assert axis_codes(affine) == "AIL"
    data = np.arange(24).reshape(1, 2, 3, 4)
    turned = to_closest_ras(Volume(data=data, affine=affine))
    assert turned.data.shape == (1, 4, 2, 3)
    assert turned.data[0, 0, 1, 2] == data[0, 1, 0, 3]  # most left, anterior and superior
    expected = [[3, 0, 0, 1], [0, 2, 0, 20], [0, 0, 1, 28], [0, 0, 0, 1]]
    np.testing.assert_array_equal(turned.affine, expected)


@pytest.mark.parametrize("seed", range(60))
def test_codes_and_turned_affine_agree_with_nibabel(seed):
    affine = random_affine(seed)
    assert axis_codes(affine) == "".join(nib.aff2axcodes(affine))
    data = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    expected = nib.as_closest_canonical(nib.Nifti1Image(data.astype(np.int16), affine))
    turned = to_closest_ras(Volume(data=data[np.newaxis], affine=affine))
    np.testing.assert_array_equal(turned.data[0], np.asarray(expected.dataobj))
    np.testing.assert_allclose(turned.affine, expected.affine, atol=1e-9)


def test_ties_are_resolved_like_nibabel():
    half = np.sqrt(0.5)
    for signs in product((1, -1), repeat=2):
        affine = np.eye(4)
        affine[:2, :2] = np.array([[half, -half], [half, half]]) * np.array(signs)
        assert axis_codes(affine) == "".join(nib.aff2axcodes(affine))


@pytest.mark.parametrize("matrix", signed_permutations(), ids=axis_codes)
def test_there_and_back_is_the_identity_for_every_orientation(matrix):
    affine = random_affine(1) @ matrix
    data = np.random.default_rng(0).integers(0, 99, (2, 3, 4, 5))
    stored = Volume(data=data, affine=affine)
    canonical = to_closest_ras(stored)
    assert axis_codes(canonical.affine) == "RAS"
    back = reorient_to(canonical, stored.grid)
    np.testing.assert_array_equal(back.data, data)
    assert back.grid == stored.grid  # exactly, not nearly


def test_photograph_has_no_orientation():
    photo = Volume(data=np.arange(12).reshape(1, 3, 4), affine=np.eye(3))
    assert to_closest_ras(photo) is photo
    np.testing.assert_array_equal(reorient_to(photo, photo.grid).data, photo.data)


def test_one_voxel_and_equal_axes_are_turned():
    for shape in [(1, 1, 1, 1), (1, 2, 2, 2)]:
        data = np.arange(np.prod(shape)).reshape(shape)
        for matrix in signed_permutations():
            stored = Volume(data=data, affine=matrix)
            back = reorient_to(to_closest_ras(stored), stored.grid)
            np.testing.assert_array_equal(back.data, data)


def test_other_voxels_are_refused():
    volume = Volume(data=np.zeros((1, 4, 5, 6)), affine=np.eye(4))
    shifted, larger, turned = np.eye(4), np.diag([1.1, 1, 1, 1]), random_affine(2)
    shifted[0, 3] = 0.5
    for affine in (shifted, larger, turned):
        with pytest.raises(GridMismatchError, match="is not the same voxels as"):
            reorient_to(volume, Grid.of((4, 5, 6), affine))
    with pytest.raises(GridMismatchError, match=r"shape \(4, 5, 6\) is not \(4, 5, 7\)"):
        reorient_to(volume, Grid.of((4, 5, 7), np.eye(4)))
    with pytest.raises(GridMismatchError):
        reorient_to(volume, Grid.of((4, 5), np.eye(3)))


def test_same_voxels_allows_a_tenth_of_a_voxel():
    grid = Grid.of((100, 100, 20), np.diag([1.0, 1.0, 5.0, 1.0]))
    for shift, same in [(0.45, True), (0.55, False)]:
        affine = grid.matrix
        affine[2, 3] = shift  # 0.09 and 0.11 of a 5 mm slice
        assert same_voxels(grid, Grid.of(grid.shape, affine)) is same
    stretched = Grid.of(grid.shape, np.diag([1.002, 1.0, 5.0, 1.0]))  # 0.2 voxels at the far end
    assert not same_voxels(grid, stretched)
    assert not same_voxels(grid, Grid.of((100, 100, 21), grid.matrix))
