from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medseg.transforms import spatial


def quarter_turn(shape, plane: int) -> torch.Tensor:
    angles = torch.zeros(1, len(spatial.rotation_planes(shape)))
    angles[0, plane] = math.pi / 2
    return spatial.affine_matrices(angles, torch.ones(1), shape)


def test_a_quarter_turn_is_rot90_in_2d():
    image, label = torch.rand(1, 2, 6, 6), torch.arange(36).reshape(1, 6, 6)
    moved, mask = spatial.apply_affine(image, label, quarter_turn((6, 6), 0), (1.0, 1.0))
    assert np.array_equal(mask[0].numpy(), np.rot90(label[0].numpy(), 1))
    np.testing.assert_allclose(moved[0], np.rot90(image[0].numpy(), 1, (1, 2)), atol=1e-5)


@pytest.mark.parametrize(("plane", "axes"), [(0, (0, 1)), (1, (0, 2)), (2, (1, 2))])
def test_a_quarter_turn_is_rot90_in_each_plane_of_a_box(plane, axes):
    shape = [4, 4, 4]
    shape[({0, 1, 2} - set(axes)).pop()] = 6  # not a cube; the plane is square
    label = torch.arange(math.prod(shape)).reshape(1, *shape)
    image = label.float().unsqueeze(1)
    moved, mask = spatial.apply_affine(image, label, quarter_turn(shape, plane), (1.0,) * 3)
    assert np.array_equal(mask[0].numpy(), np.rot90(label[0].numpy(), 1, axes))
    np.testing.assert_allclose(moved[0, 0], mask[0], atol=1e-3)


def test_spacing_makes_a_turn_a_turn_in_space():
    # A 4 x 8 patch of 2 x 1 mm voxels is a square of 8 mm; a bar of 8 x 2 mm becomes 2 x 8 mm.
    label = torch.zeros(1, 4, 8, dtype=torch.int16)
    label[:, :, 3:5] = 1
    image = label.float().unsqueeze(1)
    _, mask = spatial.apply_affine(image, label, quarter_turn((4, 8), 0), (2.0, 1.0))
    expected = torch.zeros(4, 8, dtype=torch.int16)
    expected[1:3] = 1
    rows = mask[0].sum(1)
    assert (mask[0] >= 0).all()
    assert rows.tolist()[0] == rows.tolist()[3] == 0
    assert int(mask.sum()) == pytest.approx(8, abs=8)
    assert ((mask[0] == 1) <= (expected == 1)).all()


def test_scale_two_doubles_and_shows_only_the_middle():
    label = torch.arange(16, dtype=torch.int16).reshape(1, 4, 4)
    matrices = spatial.affine_matrices(torch.zeros(1, 1), torch.tensor([2.0]), (4, 4))
    _, mask = spatial.apply_affine(label.float()[:, None], label, matrices, (1.0, 1.0))
    assert mask[0].tolist() == [[5, 5, 6, 6], [5, 5, 6, 6], [9, 9, 10, 10], [9, 9, 10, 10]]


def test_what_comes_from_outside_is_ignored_in_the_label_and_border_in_the_image():
    label = torch.ones(1, 4, 4, dtype=torch.int16)
    image = torch.full((1, 1, 4, 4), 3.0)
    matrices = spatial.affine_matrices(torch.zeros(1, 1), torch.tensor([0.5]), (4, 4))
    moved, mask = spatial.apply_affine(image, label, matrices, (1.0, 1.0))
    assert mask[0].tolist() == [[-1, -1, -1, -1], [-1, 1, 1, -1], [-1, 1, 1, -1], [-1, -1, -1, -1]]
    assert torch.equal(moved, image)


def test_identity_changes_nothing():
    image, label = torch.rand(2, 1, 5, 4, 3), torch.randint(-1, 300, (2, 5, 4, 3))
    matrices = spatial.affine_matrices(torch.zeros(2, 3), torch.ones(2), (5, 4, 3))
    moved, mask = spatial.apply_affine(image, label, matrices, (1.0, 0.7, 3.0))
    torch.testing.assert_close(moved, image, atol=1e-5, rtol=0)
    assert torch.equal(mask, label)


def test_thin_patches_turn_in_their_plane_only():
    assert spatial.rotation_planes((1, 64, 64)) == ((1, 2),)
    assert spatial.rotation_planes((64, 64, 16)) == ((0, 1),)
    assert spatial.rotation_planes((64, 64, 24)) == ((0, 1), (0, 2), (1, 2))
    matrices = spatial.affine_matrices(torch.tensor([[0.4]]), torch.tensor([1.3]), (1, 9, 9))
    assert matrices[0, 0].tolist() == [1, 0, 0]
    assert matrices[0, :, 0].tolist() == [1, 0, 0]
    label = torch.arange(81).reshape(1, 1, 9, 9)
    flat = spatial.affine_matrices(torch.tensor([[0.4]]), torch.tensor([1.3]), (9, 9))
    _, thin = spatial.apply_affine(label[:, None].float(), label, matrices, (5.0, 1.0, 1.0))
    _, plain = spatial.apply_affine(label.float(), label[:, 0], flat, (1.0, 1.0))
    assert torch.equal(thin[:, 0], plain)


@pytest.mark.parametrize("size", [(14, 9), (12, 9, 10), (1, 12, 10)])
def test_one_scaled_patch_is_what_it_is_beside_a_turned_one(size):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 2, *size, generator=generator)
    label = torch.randint(0, 5, (2, *size), generator=generator, dtype=torch.int16)
    angles = torch.zeros(2, len(spatial.rotation_planes(size)))
    angles[1] = 0.3
    matrices = spatial.affine_matrices(angles, torch.tensor([0.83, 1.1]), size)
    shift = torch.full((2, len(size)), 0.37).double() * (torch.tensor(size) > 1)
    spacing = (1.0, 0.7, 1.3)[: len(size)]
    both = spatial.apply_affine(image, label, matrices, spacing, shift=shift)
    alone = spatial.apply_affine(image[:1], label[:1], matrices[:1], spacing, shift=shift[:1])
    torch.testing.assert_close(alone[0], both[0][:1], atol=1e-5, rtol=0)
    assert torch.equal(alone[1], both[1][:1])
