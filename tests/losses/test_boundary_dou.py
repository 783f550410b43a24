from __future__ import annotations

import pytest
import torch

from medseg.losses.boundary_dou import BoundaryDoULoss, boundary_dou_loss, rim
from medseg.losses.dice import dice_loss
from tests.losses.region_cases import A_CROPPED, A_IGNORED

YES = torch.ones(1, 1, dtype=torch.bool)


def square(size, grid, ndim=2):
    mask = torch.zeros(1, 1, *(grid,) * ndim, dtype=torch.bool)
    mask[(..., *(slice(2, 2 + size),) * ndim)] = True
    return mask


def test_worked_value():
    truth = square(20, 24)
    assert rim(truth).sum() == 76  # a = 1 - 2 * 76 / 400 = 0.62
    value = boundary_dou_loss(0.8 * truth.double(), truth, truth | True, YES, smooth=0).item()
    assert value == pytest.approx(0.1162790698, abs=1e-9)
    # as printed: (U - 2 I) / (U - 1.62 I) with U = 400 * 1.64, I = 320
    assert value == pytest.approx((656 - 640) / (656 - 1.62 * 320), abs=1e-12)


def test_a_cube_has_six_neighbours():
    truth = square(6, 9, ndim=3)
    assert rim(truth).sum() == 6**3 - 4**3
    alpha = max(1 - 2 * (216 - 64) / 216, 0)
    expected = (1.64 - 1.6) / (1.64 - (1 + alpha) * 0.8)
    got = boundary_dou_loss(0.8 * truth.double(), truth, truth | True, YES, smooth=0).item()
    assert got == pytest.approx(expected)
    big = square(20, 24, ndim=3)
    edge = 20**3 - 18**3
    alpha = 1 - 2 * edge / 20**3
    assert alpha > 0.4
    got = boundary_dou_loss(0.8 * big.double(), big, big | True, YES, smooth=0).item()
    assert got == pytest.approx((1.64 - 1.6) / (1.64 - (1 + alpha) * 0.8))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_small_objects_are_not_inflated(size):
    # Nearly all rim: the published a would be -1 for one voxel. Ours is 0: squared Dice, doubled.
    truth = square(size, 7)
    probs = 0.6 * truth.double() + 0.1
    got = boundary_dou_loss(probs, truth, truth | True, YES, smooth=0)
    dice = dice_loss(probs, truth, truth | True, YES, form="squared", smooth=0)
    torch.testing.assert_close(got, 2 * dice / (1 + dice))


def test_alpha_is_at_most_four_fifths():
    truth = square(96, 100)  # 1 - 2 * 380 / 9216 = 0.918
    got = boundary_dou_loss(0.8 * truth.double(), truth, truth | True, YES, smooth=0).item()
    assert got == pytest.approx((1.64 - 1.6) / (1.64 - 1.8 * 0.8))


def test_the_edge_of_the_image_is_no_boundary():
    assert rim(torch.ones(1, 1, 4, 4, dtype=torch.bool)).sum() == 0
    half = torch.tensor([[[[1, 1, 0], [1, 1, 0]]]]).bool()
    assert rim(half).int().tolist() == [[[[0, 1, 0], [0, 1, 0]]]]


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_rim_of_a_slice_in_3d_is_that_of_the_image(axis):
    mask = torch.rand(2, 3, 6, 7, generator=torch.Generator().manual_seed(0)) > 0.4
    assert torch.equal(rim(mask.unsqueeze(axis)).squeeze(axis), rim(mask))


def test_two_empty_masks_agree_and_an_invented_one_is_punished():
    # (U - 2 I + s) / (U - (1 + a) I + s) is 1 for both, and has no gradient.
    none = torch.zeros(1, 1, 8, dtype=torch.bool)
    probs = torch.zeros(1, 1, 8)
    assert boundary_dou_loss(probs, none, ~none, YES).item() == 0
    probs = torch.full((1, 1, 8), 1e-3, requires_grad=True)
    loss = boundary_dou_loss(probs, none, ~none, YES)
    loss.backward()
    assert 0 < loss < 1
    assert (probs.grad > 0).all()


def test_ignored_voxels_are_outside_the_object_and_weigh_nothing():
    torch.testing.assert_close(boundary_dou_loss(*A_IGNORED), boundary_dou_loss(*A_CROPPED))


def test_module_with_batch_sums_rims_and_sizes():
    truth = torch.cat((square(20, 24), square(3, 24)))
    label = truth[:, 0].long()
    logits = 0.7 * torch.cat((~truth, truth), 1).float()
    got = BoundaryDoULoss("softmax", batch=True, smooth=0)(logits, label).item()
    p = logits.softmax(1)[:, 1]
    alpha = 1 - 2 * (76 + 8) / 409
    union = (p**2).sum() + 409
    overlap = p[truth[:, 0]].sum()
    expected = (union - 2 * overlap) / (union - (1 + alpha) * overlap)
    assert got == pytest.approx(expected.item(), abs=1e-5)
