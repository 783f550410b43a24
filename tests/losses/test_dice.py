from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss as MonaiDiceCE
from monai.losses import DiceLoss as MonaiDice
from torch.nn import functional

from medseg.losses import build_loss
from medseg.losses.dice import DiceLoss, dice_loss
from tests.losses.worked import LABEL, LAST_IGNORED, LOGITS, WITHOUT_2


def dice(label, **arguments) -> float:
    return DiceLoss("softmax", **arguments)(LOGITS, label).item()


def test_worked_values():
    assert dice(LABEL, include_background=True) == pytest.approx(0.3847603521, abs=1e-6)
    assert dice(LABEL) == pytest.approx(0.4199981200, abs=1e-6)
    assert dice(LAST_IGNORED, include_background=True) == pytest.approx(0.3323215641, abs=1e-6)
    assert dice(WITHOUT_2, include_background=True) == pytest.approx(0.5809483402, abs=1e-6)


def test_function_in_float64_to_ten_digits():
    truth = torch.stack([c == LABEL for c in range(3)], dim=1)
    yes = torch.ones(1, 3, dtype=torch.bool)
    value = dice_loss(LOGITS.softmax(1), truth, truth | True, yes)
    assert value.item() == pytest.approx(0.3847603521, abs=1e-9)


def test_per_image_and_over_the_batch():
    pair = torch.cat((LOGITS, LOGITS.flip(1))), torch.cat((LABEL, WITHOUT_2))
    per_image = DiceLoss("softmax", include_background=True)(*pair)
    batch = DiceLoss("softmax", include_background=True, batch=True)(*pair)
    assert per_image.item() == pytest.approx(0.5638069879, abs=1e-6)
    assert batch.item() == pytest.approx(0.5429781003, abs=1e-6)


def test_compound_worked_values():
    both = build_loss({"name": "dice_ce", "include_background": True}, "softmax")
    assert both(LOGITS, LABEL).item() == pytest.approx(0.8640910252, abs=1e-6)
    plain = build_loss({"name": "dice_ce"}, "softmax")
    assert plain(LOGITS, LABEL).item() == pytest.approx(0.8993287931, abs=1e-6)
    weighted = build_loss({"name": "dice_ce", "weight_dice": 2.0, "weight_ce": 0.5}, "softmax")
    assert weighted(LOGITS, LABEL).item() == pytest.approx(
        2 * 0.4199981200 + 0.5 * 0.4793306731, abs=1e-6
    )
    assert set(plain.terms(LOGITS, LABEL)) == {"dice", "ce"}


@pytest.mark.parametrize("shape", [(3, 6, 7), (2, 4, 5, 6)])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_equals_monai(shape, batch, background):
    torch.manual_seed(0)
    logits = torch.randn(shape[0], 4, *shape[1:])
    label = torch.randint(0, 3, shape)  # class 3 is absent
    common = {
        "include_background": background,
        "to_onehot_y": True,
        "softmax": True,
        "batch": batch,
        "smooth_nr": 1e-5,
        "smooth_dr": 1e-5,
    }
    settings = {"include_background": background, "batch": batch}
    for name, peer in (("dice", MonaiDice(**common)), ("dice_ce", MonaiDiceCE(**common))):
        ours = build_loss({"name": name, **settings}, "softmax")(logits, label)
        torch.testing.assert_close(ours, peer(logits, label.unsqueeze(1)), atol=1e-6, rtol=1e-5)


def test_sigmoid_equals_monai():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 2, 6, 7), torch.randint(0, 3, (2, 6, 7))
    truth = torch.stack((label >= 1, label == 2), dim=1).float()
    peer = MonaiDice(sigmoid=True, smooth_nr=1e-5, smooth_dr=1e-5)
    # MONAI's DiceCE takes a softmax over the channels here; the binary cross entropy is torch's.
    expected = peer(logits, truth) + functional.binary_cross_entropy_with_logits(logits, truth)
    ours = build_loss({"name": "dice_ce"}, "sigmoid", ((1, 2), (2,)))(logits, label)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)


def test_gradcheck():
    torch.manual_seed(0)
    truth = torch.rand(2, 2, 5) > 0.5
    valid = torch.rand(2, 1, 5) > 0.2
    known = torch.tensor([[True, False], [True, True]])
    probs = torch.rand(2, 2, 5, dtype=torch.float64, requires_grad=True)
    for batch in (False, True):
        assert torch.autograd.gradcheck(
            lambda p, b=batch: dice_loss(p, truth, valid, known, batch=b), (probs,)
        )


def test_a_large_sum_is_exact_enough():
    # 96^3 voxels: half precision sums would saturate or lose digits (losses.md, section 0).
    logits = torch.full((1, 2, 96, 96, 96), 0.0)
    logits[:, 1] = 2.0
    label = torch.ones(1, 96, 96, 96, dtype=torch.int16)
    with torch.autocast("cpu", torch.bfloat16):
        value = DiceLoss("softmax")(logits.bfloat16(), label)
    p = torch.tensor(2.0, dtype=torch.float64).sigmoid().item()
    assert value.item() == pytest.approx(1 - 2 * p / (p + 1), abs=1e-5)
