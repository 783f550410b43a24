from __future__ import annotations

import pytest
import torch

from medseg.losses import build_loss
from medseg.losses.cc_dice import cc_dice_loss
from medseg.losses.dice import dice_loss
from tests.losses.test_blob import YES, P, Y


def test_worked_values():
    value = cc_dice_loss(P, Y, Y | True, YES, smooth=0)
    assert value.item() == pytest.approx(0.4171052632, abs=1e-9)
    first = cc_dice_loss(P[..., :4], Y[..., :4], Y[..., :4] | True, YES, smooth=0)
    second = cc_dice_loss(P[..., 4:], Y[..., 4:], Y[..., 4:] | True, YES, smooth=0)
    assert first.item() == pytest.approx(0.15, abs=1e-9)
    assert second.item() == pytest.approx(0.6842105263, abs=1e-9)


@pytest.mark.parametrize("shape", [(6, 8), (6, 4, 5)])
def test_two_halves_are_two_images(shape):
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand((1, 1, *shape), generator=generator, dtype=torch.float64)
    truth = torch.zeros_like(probs, dtype=torch.bool)
    truth[0, 0, 1], truth[0, 0, 4] = True, True
    halves = [
        dice_loss(probs[:, :, part], truth[:, :, part], truth[:, :, part] | True, YES)
        for part in (slice(0, 3), slice(3, 6))
    ]
    value = cc_dice_loss(probs, truth, truth | True, YES)
    torch.testing.assert_close(value, torch.stack(halves).mean())
    mirrored = cc_dice_loss(probs.flip(2), truth.flip(2), truth | True, YES)
    torch.testing.assert_close(mirrored, value)  # no voxel is equally near to both


def test_with_one_component_it_is_dice():
    truth = torch.tensor([[[0, 1, 1, 0, 0, 0, 0, 0]]]).bool()
    torch.testing.assert_close(
        cc_dice_loss(P, truth, truth | True, YES), dice_loss(P, truth, truth | True, YES)
    )


def test_absent_classes():
    none = Y & False

    def value(absent):
        return cc_dice_loss(P, none, none | True, YES, absent=absent, smooth=1.0).item()

    assert value("keep") == pytest.approx(1 - 1 / (2.9 + 1))  # s / (P + s)
    assert value("skip") == value("zero") == 0
    both = torch.cat((P, P), 1), torch.cat((Y, none), 1)
    sure = torch.ones(1, 2, dtype=torch.bool)
    alone = cc_dice_loss(P, Y, Y | True, YES).item()
    for absent, share in (("skip", 1), ("zero", 0.5)):
        found = cc_dice_loss(*both, both[1] | True, sure, absent=absent).item()
        assert found == pytest.approx(alone * share)


def test_spacing_moves_the_border_between_lesions():
    truth = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    truth[0, 0, 0, 0] = truth[0, 0, 0, 3] = truth[0, 0, 3, 0] = True
    probs = torch.rand((1, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    near = cc_dice_loss(probs, truth, truth | True, YES, spacing=(1.0, 1.0))
    wide = cc_dice_loss(probs, truth, truth | True, YES, spacing=(5.0, 1.0))
    scaled = cc_dice_loss(probs, truth, truth | True, YES, spacing=(10.0, 2.0))
    assert abs(near - wide) > 1e-4
    torch.testing.assert_close(wide, scaled)
    loss = build_loss({"name": "cc_dice"}, "sigmoid", ((1,),), (5.0, 1.0))
    torch.testing.assert_close(loss(probs.logit(), truth[:, 0].long()), wide)


def test_ignored_voxels_are_in_no_lesion_and_do_not_count():
    valid = torch.ones_like(Y)
    valid[..., 5] = False
    expected = dice_loss(P, Y, valid, YES, smooth=0)  # one component is left
    torch.testing.assert_close(cc_dice_loss(P, Y, valid, YES, smooth=0), expected)


def test_gradient():
    probs = P.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: cc_dice_loss(p, Y, Y | True, YES), probs)
