from __future__ import annotations

import pytest
import torch

from medseg.losses import build_loss
from medseg.losses.blob import blob_loss
from medseg.losses.dice import dice_loss
from medseg.losses.islands import label_islands

P = torch.tensor([[[0.9, 0.8, 0.1, 0.2, 0.1, 0.3, 0.4, 0.1]]], dtype=torch.float64)
Y = torch.tensor([[[1, 1, 0, 0, 0, 1, 0, 0]]]).bool()
YES = torch.ones(1, 1, dtype=torch.bool)


def test_worked_values():
    main = dice_loss(P, Y, Y | True, YES, smooth=0)
    blobs = blob_loss(P, Y, Y | True, YES, smooth=0)
    assert main.item() == pytest.approx(0.3220338983, abs=1e-9)
    assert blobs.item() == pytest.approx((0.2608695652 + 0.7272727273) / 2, abs=1e-9)
    loss = build_loss({"name": "blob", "smooth": 0.0}, "sigmoid", ((1,),))
    assert loss(P.logit(), Y[:, 0].long()).item() == pytest.approx(1.1381389429, abs=1e-6)
    assert list(loss.terms(P.logit(), Y[:, 0].long())) == ["dice", "blob"]


@pytest.mark.parametrize("shape", [(9, 8), (5, 6, 7)])
def test_equals_one_masked_dice_per_component(shape):
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand((1, 1, *shape), generator=generator, dtype=torch.float64)
    truth = torch.zeros_like(probs, dtype=torch.bool)
    truth[0, 0, 0, 0], truth[0, 0, -2:, 2:4] = True, True
    truth[0, 0, 2, -1] = True
    islands = label_islands(truth)
    each = []
    for k in range(1, int(islands.max()) + 1):
        others = (islands > 0) & (islands != k)
        each.append(dice_loss(probs, islands == k, ~others, YES, smooth=1e-5))
    assert len(each) > 1
    expected = torch.stack(each).mean()
    torch.testing.assert_close(blob_loss(probs, truth, truth | True, YES), expected)


def test_a_small_lesion_weighs_as_much_as_a_large_one():
    truth = torch.zeros(1, 1, 40, dtype=torch.bool)
    truth[..., 2:22], truth[..., 30] = True, True
    missed_small = (truth & (torch.arange(40) < 25)).double()
    missed_large = (truth & (torch.arange(40) > 25)).double()
    small = blob_loss(missed_small, truth, truth | True, YES)
    large = blob_loss(missed_large, truth, truth | True, YES)
    assert small.item() == pytest.approx(0.5, abs=1e-4)
    assert large.item() == pytest.approx(0.5, abs=1e-4)


def test_without_a_component_nothing_is_said():
    probs = P.clone().requires_grad_()
    loss = blob_loss(probs, Y & False, Y | True, YES, smooth=0)
    loss.backward()
    assert loss == 0
    assert probs.grad.abs().sum() == 0


def test_ignored_voxels_are_in_no_component():
    valid = torch.ones_like(Y)
    valid[..., 5] = False  # the second component
    assert blob_loss(P, Y, valid, YES, smooth=0).item() == pytest.approx(0.2608695652, abs=1e-9)


def test_gradient():
    probs = P.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: blob_loss(p, Y, Y | True, YES), probs)
