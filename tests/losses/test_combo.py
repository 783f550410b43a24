from __future__ import annotations

import pytest
import torch

from medseg.losses.combo import ComboLoss, combo_loss, log_odds
from tests.losses.region_cases import A_CROPPED, A_IGNORED, A, B
from tests.losses.worked import B_LABEL, B_LOGITS, LABEL, LOGITS


def combo_b(**arguments) -> float:
    return combo_loss(*log_odds(B_LOGITS, "sigmoid"), *B[1:], **arguments).item()


def test_worked_values():
    assert combo_b(offset=False) == pytest.approx(-0.3407744154, abs=1e-9)
    assert combo_b() == pytest.approx(0.1592255846, abs=1e-9)
    assert combo_b(fn_weight=0.7, offset=False) == pytest.approx(-0.3369206484, abs=1e-9)
    module = ComboLoss("sigmoid", ((1,),))
    assert module(B_LOGITS, B_LABEL).item() == pytest.approx(0.1592255846, abs=1e-9)


def test_softmax_by_hand():
    # Every channel of A is a binary question; Dice smoothing 1.
    p, g = A[0], A[1].double()
    ce = -(0.6 * g * p.log() + 0.4 * (1 - g) * (1 - p).log()).mean()
    dice = torch.tensor([(2 * 1.2 + 1) / 4.5, (2 * 0.7 + 1) / 3.5, (2 * 0.6 + 1) / 3]).mean()
    expected = 0.3 * ce.item() + 0.7 * (1 - dice.item())
    loss = ComboLoss("softmax", include_background=True, weight_ce=0.3, fn_weight=0.6)
    assert loss(LOGITS, LABEL).item() == pytest.approx(expected, abs=1e-7)


def test_a_fn_weight_above_a_half_punishes_misses():
    yes = torch.ones(1, 1, dtype=torch.bool)
    truth = torch.tensor([[[True, False]]])
    missed, invented = torch.tensor([[[-2.0, -9.0]]]), torch.tensor([[[9.0, 2.0]]])
    for weight, more in ((0.9, missed), (0.1, invented)):
        less = missed if more is invented else invented
        one, other = (
            combo_loss(
                *log_odds(z, "sigmoid"), truth, truth | True, yes, weight_ce=1.0, fn_weight=weight
            )
            for z in (more, less)
        )
        assert one > other


@pytest.mark.parametrize("channels", [2, 4])
def test_log_odds_equal_the_logarithms_of_probabilities(channels):
    torch.manual_seed(0)
    logits = 3 * torch.randn(2, channels, 5, dtype=torch.float64)
    for activation, probs in (("softmax", logits.softmax(1)), ("sigmoid", logits.sigmoid())):
        log_p, log_rest = log_odds(logits, activation)
        torch.testing.assert_close(log_p, probs.log())
        torch.testing.assert_close(log_rest, (1 - probs).log())


def test_log_odds_at_ties_and_at_saturated_logits():
    logits = torch.tensor([[[0.0, 200.0], [0.0, 0.0]]], requires_grad=True)
    log_p, log_rest = log_odds(logits, "softmax")
    torch.testing.assert_close(log_p.flip(1), log_rest)  # two channels: each the other's rest
    log_rest.sum().backward()
    assert logits.grad.isfinite().all()


def test_log_odds_gradient():
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: log_odds(z, "softmax"), (logits,))


def test_ignored_voxels_are_as_if_cut_off():
    whole, cropped = A_IGNORED[0].log(), A_CROPPED[0].log()
    torch.testing.assert_close(
        combo_loss(*log_odds(whole, "softmax"), *A_IGNORED[1:]),
        combo_loss(*log_odds(cropped, "softmax"), *A_CROPPED[1:]),
    )
