from __future__ import annotations

import pytest
import torch
from monai.losses import AsymmetricUnifiedFocalLoss as MonaiUnified

from medseg.losses.unified_focal import UnifiedFocalLoss, unified_focal_loss
from tests.losses.region_cases import A, B
from tests.losses.worked import B_LABEL, B_LOGITS, LABEL, LOGITS


def two_channels():
    log_p = torch.cat((1 - B[0], B[0]), 1).log()
    truth = torch.cat((~B[1], B[1]), 1)
    return log_p, truth, B[2], torch.ones(1, 2, dtype=torch.bool)


def test_worked_values():
    case = two_channels()
    assert unified_focal_loss(*case, weight=1).item() == pytest.approx(0.0624916684, abs=1e-9)
    tversky = unified_focal_loss(*case, weight=0, smooth=0).item()
    assert tversky == pytest.approx(0.3501339016, abs=1e-7)
    assert unified_focal_loss(*case).item() == pytest.approx(0.2063127850, abs=1e-7)
    module = UnifiedFocalLoss("sigmoid", ((1,),))
    assert module(B_LOGITS, B_LABEL).item() == pytest.approx(0.2063127850, abs=1e-7)


@pytest.mark.parametrize("shape", [(3, 6, 7), (2, 3, 4, 5)])
def test_equals_monai_given_probabilities(shape):
    torch.manual_seed(0)
    logits = torch.randn(shape[0], 2, *shape[1:])
    label = torch.randint(0, 2, shape)
    for weight, gamma, delta in ((0.5, 0.5, 0.7), (0.3, 0.4, 0.6)):
        peer = MonaiUnified(to_onehot_y=True, weight=weight, gamma=gamma, delta=delta)
        ours = UnifiedFocalLoss("softmax", weight=weight, gamma=gamma, delta=delta)
        expected = peer(logits.softmax(1), label[:, None])
        torch.testing.assert_close(ours(logits, label), expected, atol=1e-6, rtol=1e-5)


def test_more_than_two_classes_by_hand():
    # The background is suppressed by (1 - p)^0.5; the others keep their whole cross entropy.
    true = torch.tensor((0.7, 0.7, 0.6, 0.5), dtype=torch.float64)  # classes 0, 1, 2, 0
    price = torch.stack((0.3 * 0.3**0.5 * torch.ones(()), *[torch.tensor(0.7)] * 2)).double()
    price = torch.cat((price, torch.tensor([0.3 * 0.5**0.5], dtype=torch.float64)))
    focal = -(price * true.log()).sum() / 12
    overlap, predicted, size = (
        torch.tensor(x) for x in ((1.2, 0.7, 0.6), (1.5, 1.5, 1), (2, 1, 1))
    )
    lost = 1 - overlap / (overlap + 0.7 * (size - overlap) + 0.3 * (predicted - overlap))
    tversky = (lost[0] + lost[1] ** 0.5 + lost[2] ** 0.5) / 3
    got = UnifiedFocalLoss("softmax")(LOGITS, LABEL).item()
    assert got == pytest.approx((0.5 * focal + 0.5 * tversky).item(), abs=1e-6)


def test_the_side_that_is_rare_pays_more_for_a_miss():
    yes = torch.ones(1, 2, dtype=torch.bool)
    even = torch.full((1, 2, 1), 0.5, dtype=torch.float64).log()
    for rare, price in ((True, 0.7), (False, 0.3 * 0.5**0.5)):
        truth = torch.tensor([[[not rare], [rare]]])
        got = unified_focal_loss(even, truth, truth[:, :1] | True, yes, weight=1)
        assert got.item() == pytest.approx(price * 0.69314718 / 2, abs=1e-7)


def test_gradients_are_finite_at_a_perfect_prediction():
    for scale in (5.0, 40.0, 100.0):
        logits = (scale * (2 * A[1].double() - 1)).requires_grad_()
        loss = UnifiedFocalLoss("softmax")(logits, LABEL)
        loss.backward()
        assert logits.grad.isfinite().all()
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_each_region_is_a_question_of_its_own():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 2, 6, 7), torch.randint(-1, 3, (2, 6, 7))
    both = UnifiedFocalLoss("sigmoid", ((1, 2), (2,)))(logits, label)
    one = UnifiedFocalLoss("sigmoid", ((1, 2),))(logits[:, :1], label)
    other = UnifiedFocalLoss("sigmoid", ((2,),))(logits[:, 1:], label)
    torch.testing.assert_close(both, (one + other) / 2)
