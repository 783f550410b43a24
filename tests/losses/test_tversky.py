from __future__ import annotations

import pytest
import torch
from monai.losses import TverskyLoss as MonaiTversky

from medseg.losses.dice import dice_loss
from medseg.losses.tversky import FocalTverskyLoss, TverskyLoss, tversky_loss
from tests.losses.region_cases import A_CROPPED, A_IGNORED, A, B, random_regions
from tests.losses.worked import LABEL, LOGITS


def test_worked_values():
    assert tversky_loss(*A).item() == pytest.approx(0.3808821325, abs=1e-9)
    assert tversky_loss(*B, smooth=0).item() == pytest.approx(0.2385786802, abs=1e-9)
    module = TverskyLoss("softmax", include_background=True)
    assert module(LOGITS, LABEL).item() == pytest.approx(0.3808821325, abs=1e-9)


def test_worked_value_of_focal_takes_the_power_per_class():
    # The power of the mean, which two peers take, would be 0.4848338682.
    value = FocalTverskyLoss("softmax", include_background=True)(LOGITS, LABEL).item()
    assert value == pytest.approx(0.4846911115, abs=1e-9)
    assert tversky_loss(*A, gamma=4 / 3).item() == pytest.approx(0.4846911115, abs=1e-9)


@pytest.mark.parametrize("shape", [(3, 6, 7), (2, 3, 4, 5)])
@pytest.mark.parametrize("batch", [False, True])
def test_equals_monai_whose_alpha_is_for_false_positives(shape, batch):
    case = random_regions(shape)
    peer = MonaiTversky(alpha=0.2, beta=0.9, batch=batch, smooth_nr=1e-5, smooth_dr=1e-5)
    ours = tversky_loss(*case, fp_weight=0.2, fn_weight=0.9, batch=batch)
    torch.testing.assert_close(ours, peer(case[0], case[1].double()))


def test_the_weights_price_the_errors_they_are_named_for():
    yes = torch.ones(1, 1, dtype=torch.bool)
    truth = torch.tensor([[[True, True, False, False]]])
    missed = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])  # I 1, FN 1
    invented = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])  # I 2, FP 1
    settings = {"fp_weight": 0.2, "fn_weight": 0.9, "smooth": 0}
    one = tversky_loss(missed, truth, truth | True, yes, **settings)
    other = tversky_loss(invented, truth, truth | True, yes, **settings)
    assert one.item() == pytest.approx(1 - 1 / 1.9)
    assert other.item() == pytest.approx(1 - 2 / 2.2)


def test_equal_weights_of_a_half_are_dice():
    case = random_regions((2, 6, 7))
    ours = tversky_loss(*case, fp_weight=0.5, fn_weight=0.5, smooth=0)
    torch.testing.assert_close(ours, dice_loss(*case, smooth=0))


def test_objects_smaller_than_a_voxel_are_measured():
    # A denominator clamped to at least 1 would take 0.5 for 0.17 here, and lose its gradient.
    probs = torch.tensor([[[0.5, 0.0]]], dtype=torch.float64, requires_grad=True)
    truth = torch.tensor([[[True, False]]])
    yes = torch.ones(1, 1, dtype=torch.bool)
    loss = tversky_loss(probs, truth, truth | True, yes, fp_weight=0.2, fn_weight=0.2, smooth=0)
    assert loss.item() == pytest.approx(1 - 0.5 / 0.6)
    loss.backward()
    assert probs.grad[0, 0, 0].item() == pytest.approx(-(0.6 - 0.5 * 0.8) / 0.36)


def test_focal_has_finite_gradients_at_a_perfect_prediction():
    probs = A[1].double().requires_grad_()
    loss = tversky_loss(probs, *A[1:], gamma=4 / 3)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert probs.grad.isfinite().all()


def test_ignored_voxels_are_as_if_cut_off():
    torch.testing.assert_close(tversky_loss(*A_IGNORED), tversky_loss(*A_CROPPED))
