from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss as MonaiDice

from medseg.losses.dice import dice_loss
from medseg.losses.jaccard import JaccardLoss, jaccard_loss
from tests.losses.region_cases import A_CROPPED, A_IGNORED, A, B, random_regions
from tests.losses.worked import LABEL, LOGITS


def test_worked_values():
    assert jaccard_loss(*A).item() == pytest.approx(0.5535969987, abs=1e-9)
    assert jaccard_loss(*A, smooth=0).item() == pytest.approx(0.5536001840, abs=1e-9)
    assert jaccard_loss(*B, smooth=0).item() == pytest.approx(0.3750000000, abs=1e-9)
    module = JaccardLoss("softmax", include_background=True)
    assert module(LOGITS, LABEL).item() == pytest.approx(0.5535969987, abs=1e-9)


@pytest.mark.parametrize("shape", [(3, 6, 7), (2, 3, 4, 5)])
@pytest.mark.parametrize("batch", [False, True])
def test_equals_monai(shape, batch):
    case = random_regions(shape)
    peer = MonaiDice(jaccard=True, batch=batch, smooth_nr=1e-5, smooth_dr=1e-5)
    # MONAI's smoothing is that of (2 I + s) / (2 U + s): half of ours.
    ours = jaccard_loss(*case, batch=batch, smooth=5e-6)
    torch.testing.assert_close(ours, peer(case[0], case[1].double()), atol=1e-12, rtol=0)


def test_worked_value_of_monai():
    assert jaccard_loss(*A, smooth=5e-6).item() == pytest.approx(0.5535985914, abs=1e-9)


def test_is_a_function_of_dice():
    for case in (random_regions((2, 6, 7)), random_regions((2, 3, 4, 5))):
        dice = dice_loss(*case, smooth=0, reduction="none")
        got = jaccard_loss(*case, smooth=0, reduction="none")
        torch.testing.assert_close(got, 2 * dice / (1 + dice))


def test_ignored_voxels_are_as_if_cut_off():
    torch.testing.assert_close(jaccard_loss(*A_IGNORED), jaccard_loss(*A_CROPPED))


def test_nothing_to_compare_is_finite_without_smoothing():
    probs = torch.zeros(1, 1, 4, requires_grad=True)
    empty = torch.zeros(1, 1, 4, dtype=torch.bool)
    loss = jaccard_loss(probs, empty, ~empty, torch.ones(1, 1, dtype=torch.bool), smooth=0)
    loss.backward()
    assert probs.grad.isfinite().all()
