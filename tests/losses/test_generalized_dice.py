from __future__ import annotations

import pytest
import torch
from monai.losses import GeneralizedDiceLoss as MonaiGeneralized

from medseg.errors import ConfigError
from medseg.losses import build_loss
from medseg.losses.dice import dice_loss
from medseg.losses.generalized_dice import (
    GeneralizedDiceLoss,
    generalized_dice_loss,
    generalized_weights,
)
from medseg.losses.overlap import region_sums
from tests.losses.region_cases import A0, A_WITHOUT_BACKGROUND, A, random_regions
from tests.losses.worked import LABEL, LOGITS


def test_worked_values():
    assert generalized_dice_loss(*A).item() == pytest.approx(0.4046504100, abs=1e-9)
    assert generalized_dice_loss(*A, smooth=0).item() == pytest.approx(0.4046511628, abs=1e-9)
    foreground = generalized_dice_loss(*A_WITHOUT_BACKGROUND).item()
    assert foreground == pytest.approx(0.4222212840, abs=1e-9)
    module = GeneralizedDiceLoss("softmax", include_background=True)
    assert module(LOGITS, LABEL).item() == pytest.approx(0.4046504100, abs=1e-9)


def test_worked_value_of_simple_weights():
    value = generalized_dice_loss(*A, weighting="simple").item()
    assert value == pytest.approx(0.3919993728, abs=1e-9)


def test_worked_values_of_an_absent_class():
    # The reference's s = 1e-5 stands beside weights of 1/4; ours are divided by the largest.
    largest = generalized_dice_loss(*A0, smooth=4e-5).item()
    assert largest == pytest.approx(0.4499977500, abs=1e-9)
    zero = generalized_dice_loss(*A0, absent="zero", smooth=4e-5).item()
    assert zero == pytest.approx(0.3714264490, abs=1e-9)


@pytest.mark.parametrize("shape", [(3, 6, 7), (2, 3, 4, 5)])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("weighting", ["square", "simple", "uniform"])
def test_equals_monai_without_smoothing(shape, batch, weighting):
    case = random_regions(shape, 4, present=3)
    peer = MonaiGeneralized(w_type=weighting, batch=batch, smooth_nr=0, smooth_dr=0)
    ours = generalized_dice_loss(*case, weighting=weighting, batch=batch, smooth=0)
    expected = peer(case[0], case[1].double())
    if weighting == "uniform" or case[1].flatten(2).any(2).all():
        torch.testing.assert_close(ours, expected)
    else:
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-6)


def test_an_absent_class_does_not_stop_the_learning():
    # 1 / (G + 1e-10)^2 lets the absent class weigh 1e20: a loss of 1, and gradients of 1e-20.
    probs = A0[0].clone().requires_grad_()
    loss = generalized_dice_loss(probs, *A0[1:])
    loss.backward()
    assert loss < 0.5
    assert probs.grad[0, 1].abs().max() > 0.01


@pytest.mark.parametrize("weighting", ["square", "simple", "uniform"])
def test_smoothing_is_small_beside_large_organs(weighting):
    # Weights of 1 / G^2 next to s = 1e-5 gave 0.956 here for a completely wrong prediction.
    label = torch.zeros(1, 96, 96, 96, dtype=torch.long)
    label[:, :40, :40, :40] = 1
    label[:, 50:90, 50:90, 50:90] = 2
    right = torch.stack([label == c for c in range(3)], 1)
    loss = GeneralizedDiceLoss("softmax", include_background=True, weighting=weighting)
    assert loss(200.0 * right.roll(1, 1), label) > 0.999
    assert loss(200.0 * right, label).item() == pytest.approx(0, abs=1e-6)


def test_value_does_not_depend_on_the_size_of_the_volume():
    once, tiled = A, tuple(x.repeat(1, 1, 5, 5) if x.ndim == 4 else x for x in A)
    torch.testing.assert_close(
        generalized_dice_loss(*once, smooth=0), generalized_dice_loss(*tiled, smooth=0)
    )


@pytest.mark.parametrize("absent", ["max", "zero"])
def test_all_absent_is_soft_dice_with_equal_weights(absent):
    probs = torch.rand(1, 2, 6, dtype=torch.float64)
    none = torch.zeros_like(probs, dtype=torch.bool)
    yes = torch.ones(1, 2, dtype=torch.bool)
    got = generalized_dice_loss(probs, none, ~none, yes, absent=absent)
    one = generalized_dice_loss(probs, none, ~none, yes, weighting="uniform")
    torch.testing.assert_close(got, one)
    joined = probs.flatten().reshape(1, 1, 12), none.reshape(1, 1, 12), ~none.reshape(1, 1, 12)
    torch.testing.assert_close(got, dice_loss(*joined, yes[:, :1]))


def test_unknown_channels_weigh_nothing():
    case = random_regions((2, 5, 5), 3)
    case[3][0, 2] = False
    sums = region_sums(*case)
    assert generalized_weights(sums)[0, 2] == 0
    first = generalized_dice_loss(*case, reduction="none")[0]
    alone = generalized_dice_loss(case[0][:1, :2], case[1][:1, :2], case[2][:1], case[3][:1, :2])
    torch.testing.assert_close(first, alone)


def test_worked_value_of_the_penalty_both_ways():
    value = generalized_dice_loss(*A, penalty=2.5, smooth=0).item()
    assert value == pytest.approx(0.7040462428, abs=1e-9)
    sums = region_sums(*A)
    weights = generalized_weights(sums)
    errors = 2.5 * (weights * (sums.fp + sums.fn)).sum()
    whole = (weights * (sums.predicted + sums.true)).sum() + errors
    other = 1 - 2 * (weights * sums.overlap).sum() / whole
    assert other.item() == pytest.approx(value, abs=1e-12)


def test_penalty_is_0_for_a_perfect_and_1_for_a_wrong_prediction():
    # Fed with minus the score, as a peer does, a perfect prediction is not the optimum.
    loss = build_loss({"name": "penalty_generalized_dice", "include_background": True}, "softmax")
    right = 200.0 * A[1]
    assert loss(right, LABEL).item() == pytest.approx(0, abs=1e-6)
    assert loss(right.roll(1, 1), LABEL).item() == pytest.approx(1, abs=1e-4)
    assert loss(LOGITS, LABEL).item() == pytest.approx(0.70404624, abs=1e-5)


@pytest.mark.parametrize("arguments", [{"weighting": "sqare"}, {"absent": "maxx"}])
def test_unknown_choices_are_explained(arguments):
    with pytest.raises(ConfigError, match=r"'(sqare|maxx)'.*'(square|max)'"):
        build_loss({"name": "generalized_dice", **arguments}, "softmax")
    with pytest.raises(ConfigError, match="did you mean"):
        generalized_dice_loss(*A, **arguments)
