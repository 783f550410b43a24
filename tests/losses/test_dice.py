from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss as MonaiDiceCE
from monai.losses import DiceLoss as MonaiDice
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.losses import build_loss
from medseg.losses.dice import DiceLoss, dice_loss
from tests.losses.region_cases import A0, A_IGNORED, A_WITHOUT_BACKGROUND, PAIR, A, B
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


def test_worked_values_of_the_function():
    assert dice_loss(*A).item() == pytest.approx(0.3847603521, abs=1e-9)
    each = dice_loss(*A, reduction="none")
    assert each[0].tolist() == pytest.approx((0.31428482, 0.43999824, 0.39999800), abs=1e-8)
    assert dice_loss(*A_WITHOUT_BACKGROUND).item() == pytest.approx(0.4199981200, abs=1e-9)
    assert dice_loss(*A, smooth=0).item() == pytest.approx(0.3847619048, abs=1e-9)
    assert dice_loss(*A_IGNORED).item() == pytest.approx(0.3323215641, abs=1e-9)
    assert dice_loss(*B, smooth=0).item() == pytest.approx(0.2307692308, abs=1e-9)
    assert dice_loss(*PAIR).item() == pytest.approx(0.5638069879, abs=1e-9)
    assert dice_loss(*PAIR, batch=True).item() == pytest.approx(0.5429781003, abs=1e-9)


def test_worked_values_of_the_squared_form():
    # smp, smooth 1 and squared tp, fp and fn (0.2276344375) are other things.
    assert dice_loss(*A, form="squared").item() == pytest.approx(0.1586661404, abs=1e-9)
    assert dice_loss(*B, form="squared", smooth=0).item() == pytest.approx(0.0825688073, abs=1e-9)


@pytest.mark.parametrize(
    ("absent", "value"), [("keep", 0.5809483402), ("skip", 0.3714275102), ("zero", 0.2476190476)]
)
def test_worked_values_of_an_absent_class(absent, value):
    smooth = 0 if absent == "zero" else 1e-5  # 0.2476 is smp's, which smooths nothing
    assert dice_loss(*A0, absent=absent, smooth=smooth).item() == pytest.approx(value, abs=1e-9)
    module = DiceLoss("softmax", include_background=True, absent=absent, smooth=smooth)
    assert module(LOGITS, WITHOUT_2).item() == pytest.approx(value, abs=1e-9)


def test_smoothing_the_denominator_alone_makes_empty_masks_disagree():
    empty = torch.zeros(1, 1, 4), torch.zeros(1, 1, 4, dtype=torch.bool), *B[2:]
    assert dice_loss(*empty).item() == 0
    assert dice_loss(*empty, smooth_nr=0).item() == 1
    assert dice_loss(*empty, smooth=0).item() == 1
    # Not 1 - 2 (I + s) / (U + s), which is -1 for empty masks and below 0 for perfect ones.
    assert dice_loss(A[1].double(), *A[1:]).item() == 0


def test_log_form_is_minus_the_logarithm_of_dice():
    each = dice_loss(*A, reduction="none")
    got = dice_loss(*A, log=True, reduction="none")
    torch.testing.assert_close(got, -(1 - each).log())


def test_log_form_is_finite_without_overlap_or_smoothing():
    probs = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]], requires_grad=True)
    loss = dice_loss(probs, *B[1:], log=True, smooth=0)
    loss.backward()
    assert loss.isfinite()
    assert probs.grad.isfinite().all()


def test_plusplus_by_hand():
    # B: I = 1.5; gamma 2: sum (p (1 - g))^2 = .09 + .01, sum ((1 - p) g)^2 = .01 + .16
    value = dice_loss(*B, form="plusplus", smooth=0).item()
    assert value == pytest.approx(1 - 3 / (3 + 0.10 + 0.17), abs=1e-12)
    plain = dice_loss(*B, form="plusplus", gamma=1, smooth=0).item()
    assert plain == pytest.approx(0.2307692308, abs=1e-9)


def test_plusplus_below_one_has_finite_gradients_at_a_perfect_prediction():
    probs = A[1].double().requires_grad_()
    dice_loss(probs, *A[1:], form="plusplus", gamma=0.5).backward()
    assert probs.grad.isfinite().all()


def test_only_the_semimetric_is_least_at_a_soft_target():
    soft = torch.tensor([[[0.7, 0.4, 0.2, 0.1]]], dtype=torch.float64)
    surer = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]], dtype=torch.float64)
    assert dice_loss(surer, soft, *B[2:]) < dice_loss(soft, soft, *B[2:])
    assert dice_loss(soft, soft, *B[2:], form="semimetric").item() == pytest.approx(0, abs=1e-12)
    assert dice_loss(surer, soft, *B[2:], form="semimetric") > 0.2


def test_semimetric_equals_monai_with_soft_labels_and_the_sum_with_hard_ones():
    torch.manual_seed(0)
    probs, soft = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    yes = torch.ones(2, 3, dtype=torch.bool)
    peer = MonaiDice(soft_label=True, smooth_nr=1e-5, smooth_dr=1e-5)
    ours = dice_loss(probs, soft, torch.ones_like(soft, dtype=torch.bool), yes, form="semimetric")
    torch.testing.assert_close(ours, peer(probs, soft))
    torch.testing.assert_close(dice_loss(*A, form="semimetric"), dice_loss(*A))


@pytest.mark.parametrize("batch", [False, True])
def test_squared_and_ignored_equal_monai(batch):
    torch.manual_seed(0)
    logits, label = torch.randn(2, 4, 8, 9), torch.randint(0, 4, (2, 8, 9))
    common = {"to_onehot_y": True, "softmax": True, "smooth_nr": 1e-5, "smooth_dr": 1e-5}
    squared = MonaiDice(**common, batch=batch, squared_pred=True)(logits, label[:, None])
    ours = DiceLoss("softmax", include_background=True, batch=batch, form="squared")
    torch.testing.assert_close(ours(logits, label), squared, atol=1e-6, rtol=1e-5)
    some = label.clone()
    some[:, :3] = -1
    peer = MonaiDice(**common, batch=batch, ignore_index=255)
    theirs = peer(logits, some.where(some >= 0, torch.tensor(255))[:, None])
    ours = DiceLoss("softmax", include_background=True, batch=batch)(logits, some)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_classes_are_not_summed_before_the_ratio():
    # Summed over classes first, softmax losses collapse to the mean of 1 - p(true): 0.375 here.
    collapsed = 1 - (A[0] * A[1]).sum(1).mean()
    assert collapsed.item() == pytest.approx(0.375)
    assert abs(dice_loss(*A).item() - 0.375) > 0.005


def test_unknown_forms_are_explained():
    with pytest.raises(ConfigError, match=r"'square'.*'squared'"):
        build_loss({"name": "dice", "form": "square"}, "softmax")
