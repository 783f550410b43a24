from __future__ import annotations

import pytest
import torch
from monai.losses.cldice import SoftclDiceLoss, soft_skel

from medseg.losses import build_loss
from medseg.losses.cldice import cldice_loss, soft_skeleton

YES = torch.ones(2, 1, dtype=torch.bool)


def draw(*rows: str) -> torch.Tensor:
    """Turn rows of ``#`` and ``.`` into an image (1, 1, rows, columns)."""
    return torch.tensor([[[[float(sign == "#") for sign in row] for row in rows]]])


def test_a_line_is_its_own_skeleton():
    for line in (draw(".....", ".###.", "....."), draw("#....", "#....", "#....")):
        assert torch.equal(soft_skeleton(line, 2), line)


def test_a_bar_shrinks_to_its_middle():
    bar = draw(".......", ".#####.", ".#####.", ".#####.", ".......")
    middle = draw(".......", ".......", "..###..", ".......", ".......")
    ends = soft_skeleton(bar, 1) - middle  # corners that a cross cannot reach may stay
    assert (soft_skeleton(bar, 1)[0, 0, 2, 2:5] == 1).all()
    assert (ends[0, 0, :, 2:5] == 0).all()


@pytest.mark.parametrize("shape", [(16, 15), (9, 8, 10)])
@pytest.mark.parametrize("iterations", [1, 3])
def test_monai_agrees(shape, iterations):
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand((2, 1, *shape), generator=generator)
    truth = torch.rand((2, 1, *shape), generator=generator) > 0.6
    torch.testing.assert_close(soft_skeleton(probs, iterations), soft_skel(probs, iterations))
    plain = SoftclDiceLoss(iter_=iterations, smooth=1e-9, smooth_nr=1.0, smooth_dr=1.0)
    for b in range(2):  # MONAI pools channels, background included, into one ratio
        one = slice(b, b + 1)
        peer = plain(probs[one], truth[one].float())
        mine = cldice_loss(
            probs[one], truth[one], truth[one] | True, YES[one], iterations=iterations
        )
        torch.testing.assert_close(mine, peer)


@pytest.mark.parametrize("shape", [(7, 1), (6, 5), (4, 5, 3)])
def test_gradient_of_the_skeleton(shape):
    generator = torch.Generator().manual_seed(0)
    leaf = torch.rand((1, 2, *shape), generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: soft_skeleton(p, 2), leaf)
    again = leaf.detach().clone().requires_grad_()
    weights = torch.rand(leaf.shape, generator=generator, dtype=torch.float64)
    (soft_skeleton(leaf, 2) * weights).sum().backward()
    (soft_skel(again, 2) * weights).sum().backward()
    torch.testing.assert_close(leaf.grad, again.grad)


def test_a_flat_image_hands_every_gradient_on_once():
    leaf = torch.full((1, 1, 5, 6), 0.5, requires_grad=True)
    soft_skeleton(leaf, 1).sum().backward()
    assert leaf.grad.isfinite().all()
    assert leaf.grad.sum() == 0  # what is added by the voxel is taken away by its opening


def test_classes_and_images_are_apart():
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand((2, 2, 8, 8), generator=generator, dtype=torch.float64)
    truth = torch.rand((2, 2, 8, 8), generator=generator) > 0.5
    yes = torch.ones(2, 2, dtype=torch.bool)
    each = cldice_loss(probs, truth, truth | True, yes, reduction="none")
    for b in range(2):
        for c in range(2):
            one = (slice(b, b + 1), slice(c, c + 1))
            alone = cldice_loss(probs[one], truth[one], truth[one] | True, yes[one])
            torch.testing.assert_close(each[b, c], alone)
    torch.testing.assert_close(cldice_loss(probs, truth, truth | True, yes), each.mean())


def test_a_gap_in_a_vessel_costs_more_than_the_same_voxels_at_its_rim():
    truth = torch.zeros(1, 1, 9, 24, dtype=torch.bool)
    truth[..., 3:6, 2:22] = True
    gap, rim = truth.double(), truth.double()
    gap[..., 3:6, 11:13] = 0
    rim[..., 3, 9:15] = 0
    assert gap.sum() == rim.sum()
    cost = [cldice_loss(p, truth, truth | True, YES[:1], smooth=1e-5).item() for p in (gap, rim)]
    assert cost[0] > 2 * cost[1]


def test_weights_of_the_two_terms():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((1, 2, 8, 8), generator=generator)
    label = torch.randint(0, 2, (1, 8, 8), generator=generator)
    loss = build_loss({"name": "cldice", "weight_line": 0.3}, "softmax")
    terms = loss.terms(logits, label)
    expected = 0.7 * terms["dice"] + 0.3 * terms["cldice"]
    torch.testing.assert_close(loss(logits, label), expected)
    dice = build_loss({"name": "dice", "smooth": 1.0}, "softmax")(logits, label)
    torch.testing.assert_close(terms["dice"], dice)


def test_gradient_reaches_the_logits_and_not_those_that_are_ignored():
    logits = torch.randn((1, 2, 9, 9), generator=torch.Generator().manual_seed(0))
    leaf = logits.requires_grad_()
    label = torch.zeros(1, 9, 9, dtype=torch.long)
    label[:, 4], label[:, :, :2] = 1, -1
    build_loss({"name": "cldice"}, "softmax")(leaf, label).backward()
    assert leaf.grad[..., :2].abs().sum() == 0
    assert leaf.grad[..., 2:].abs().sum() > 0
