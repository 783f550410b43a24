from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import MCCLoss as MonaiMCC

from medseg.losses.mcc import MCCLoss, mcc_loss
from tests.losses.region_cases import A_CROPPED, A_IGNORED, A, B, random_regions
from tests.losses.worked import B_LABEL, B_LOGITS


def test_worked_values():
    assert mcc_loss(*B, smooth=0).item() == pytest.approx(0.4493112081, abs=1e-9)
    value = MCCLoss("sigmoid", ((1,),))(B_LOGITS, B_LABEL).item()
    assert value == pytest.approx(0.4493113808, abs=1e-5)


@pytest.mark.parametrize("shape", [(3, 6, 7), (2, 3, 4, 5)])
@pytest.mark.parametrize("batch", [False, True])
def test_equals_monai(shape, batch):
    case = random_regions(shape)
    peer = MonaiMCC(batch=batch, smooth_nr=0, smooth_dr=0)
    ours = mcc_loss(*case, batch=batch, smooth=0)
    torch.testing.assert_close(ours, peer(case[0], case[1].double()))


def test_is_the_correlation_of_two_hard_masks():
    probs, truth, valid, known = random_regions((1, 6, 7))
    hard = torch.stack([probs.argmax(1) == c for c in range(3)], 1).double()
    losses = mcc_loss(hard, truth, valid, known, smooth=0, reduction="none")[0]
    for c in range(3):
        expected = np.corrcoef(hard[0, c].flatten(), truth[0, c].flatten())[0, 1]
        assert losses[c].item() == pytest.approx(1 - expected)


@pytest.mark.parametrize("full", [False, True])
def test_an_absent_or_full_class_must_be_predicted_so(full):
    truth = torch.full((1, 1, 50), full)
    yes = torch.ones(1, 1, dtype=torch.bool)
    right = truth.double()
    assert mcc_loss(right, truth, truth | True, yes).item() == pytest.approx(0, abs=1e-12)
    assert mcc_loss(1 - right, truth, truth | True, yes).item() == pytest.approx(1, abs=1e-3)
    half = torch.full((1, 1, 50), 0.5, requires_grad=True)
    mcc_loss(half, truth, truth | True, yes).backward()
    assert (half.grad * (-1 if full else 1) > 0).all()


@pytest.mark.parametrize("scale", [1.0, 1e-15])
def test_float32_keeps_the_digits_of_large_and_of_tiny_sums(scale):
    # Tiny: the product of the four counts is below float32's range, those of their roots is not.
    probs, truth, valid, known = random_regions((1, 96, 96, 32), 2)
    probs, truth = scale * probs[:, 1:], (truth[:, 1:] & (torch.rand(1, 1, 96, 96, 32) < 0.01))
    case = truth, valid, known[:, 1:]
    double, single = mcc_loss(probs, *case, smooth=0), mcc_loss(probs.float(), *case, smooth=0)
    assert single.isfinite()
    if scale == 1:
        assert single.item() == pytest.approx(double.item(), abs=1e-5)


def test_ignored_voxels_are_as_if_cut_off():
    torch.testing.assert_close(mcc_loss(*A_IGNORED), mcc_loss(*A_CROPPED))


def test_without_smoothing_a_degenerate_image_is_finite():
    probs = torch.zeros(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    loss = mcc_loss(probs, A[1], A[2], A[3], smooth=0)
    loss.backward()
    assert loss.isfinite()
    assert probs.grad.isfinite().all()
