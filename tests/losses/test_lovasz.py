from __future__ import annotations

import itertools

import pytest
import torch

from medseg.losses.jaccard import jaccard_loss
from medseg.losses.lovasz import (
    LovaszLoss,
    jaccard_steps,
    lovasz_hinge_loss,
    lovasz_softmax_loss,
)
from tests.losses.region_cases import A0, A_CROPPED, A_IGNORED, PAIR, A, random_regions
from tests.losses.worked import LABEL, LOGITS, WITHOUT_2


def jaccard_of_errors(wrong, truth) -> float:
    """One minus the Jaccard index of the truth with some voxels flipped."""
    pred = truth ^ wrong
    union = (pred | truth).sum().item()
    return 1 - (pred & truth).sum().item() / union if union else 0.0


def extension(errors, truth) -> float:
    """The Lovasz extension by its definition: the integral of the loss over thresholds."""
    levels = sorted({0.0, *errors.tolist()})
    return sum(
        (high - low) * jaccard_of_errors(errors > low, truth)
        for low, high in itertools.pairwise(levels)
    )


def test_worked_values():
    each = lovasz_softmax_loss(*A, reduction="none")
    assert each[0].tolist() == pytest.approx((0.4, 0.3, 0.4), abs=1e-9)
    assert lovasz_softmax_loss(*A).item() == pytest.approx(0.3666666667, abs=1e-9)
    assert lovasz_softmax_loss(*A0).item() == pytest.approx(0.45, abs=1e-9)
    assert lovasz_softmax_loss(*A0, classes="all").item() == pytest.approx(0.5, abs=1e-9)
    assert lovasz_softmax_loss(*A[:1], *A[1:]).dtype == torch.float64  # a peer raises on these


def test_the_module_takes_the_softmax_once():
    # Probabilities taken for logits would give 0.5609; logits for probabilities, errors above 1.
    loss = LovaszLoss("softmax", include_background=True)
    assert loss(LOGITS, LABEL).item() == pytest.approx(0.3666666667, abs=1e-9)
    assert loss(LOGITS, WITHOUT_2).item() == pytest.approx(0.45, abs=1e-9)
    assert 0 <= loss(100 * LOGITS, LABEL).item() <= 1


@pytest.mark.parametrize("shape", [(3, 4), (2, 2, 3)])
def test_equals_the_integral_over_thresholds(shape):
    probs, truth, valid, known = random_regions((2, *shape))
    truth[0, 2] = False  # absent
    for per_image in (True, False):
        got = lovasz_softmax_loss(
            probs, truth, valid, known, classes="all", per_image=per_image, reduction="none"
        )
        errors = (probs - truth.double()).abs()
        for b, c in itertools.product(range(2 if per_image else 1), range(3)):
            here = slice(b, b + 1) if per_image else slice(None)
            expected = extension(errors[here, c].flatten(), truth[here, c].flatten())
            assert got[b, c].item() == pytest.approx(expected, abs=1e-12)


def test_is_the_jaccard_loss_of_a_hard_prediction():
    probs, truth, valid, known = random_regions((2, 5, 6))
    hard = torch.stack([probs.argmax(1) == c for c in range(3)], 1).double()
    torch.testing.assert_close(
        lovasz_softmax_loss(hard, truth, valid, known),
        jaccard_loss(hard, truth, valid, known, smooth=0),
    )


def test_an_absent_class_costs_its_largest_error_alone():
    probs = torch.tensor([[[0.2, 0.9, 0.4]]], dtype=torch.float64, requires_grad=True)
    none = torch.zeros(1, 1, 3, dtype=torch.bool)
    yes = torch.ones(1, 1, dtype=torch.bool)
    loss = lovasz_softmax_loss(probs, none, ~none, yes, classes="all")
    loss.backward()
    assert loss.item() == pytest.approx(0.9)
    assert probs.grad.flatten().tolist() == [0, 1, 0]
    assert lovasz_softmax_loss(probs, none, ~none, yes).item() == 0


def test_per_image_and_over_the_batch():
    assert lovasz_softmax_loss(*PAIR, per_image=False) != lovasz_softmax_loss(*PAIR)
    joined = tuple(x.movedim(0, 1).flatten(1, 2)[None] if x.ndim == 4 else x[:1] for x in PAIR)
    torch.testing.assert_close(
        lovasz_softmax_loss(*PAIR, per_image=False), lovasz_softmax_loss(*joined)
    )


def test_ignored_voxels_are_as_if_cut_off():
    torch.testing.assert_close(lovasz_softmax_loss(*A_IGNORED), lovasz_softmax_loss(*A_CROPPED))


def test_steps_are_exact_in_large_volumes():
    # As differences of float32 losses the late steps would be off by their own size.
    torch.manual_seed(0)
    truth = torch.rand(3_000_000) < 0.3
    single, double = jaccard_steps(truth), jaccard_steps(truth, torch.float64)
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=0)
    assert double.sum().item() == pytest.approx(1, abs=1e-9)
    total, missed = truth.sum(), truth.cumsum(0)
    loss = 1 - (total - missed).double() / (total + (~truth).cumsum(0)).double()
    torch.testing.assert_close(double[1:], loss.diff(), rtol=0, atol=1e-15)


def test_hinge_by_hand():
    # Hinges: 1 - 0.5 (missed), 1 - 2 -> 0, 1 + 0.2 (beside), 1 - 3 -> 0. Sorted: 1.2, 0.5.
    logits = torch.tensor([[[0.5, 2.0, 0.2, -3.0]]], requires_grad=True)
    truth = torch.tensor([[[True, True, False, False]]])
    yes = torch.ones(1, 1, dtype=torch.bool)
    loss = lovasz_hinge_loss(logits, truth, truth | True, yes)
    loss.backward()
    # one beside: 1 - 2/3 = 1/3; and one missed: 1 - 1/3 = 2/3
    assert loss.item() == pytest.approx(1.2 / 3 + 0.5 / 3)
    assert logits.grad.flatten().tolist() == pytest.approx([-1 / 3, 0, 1 / 3, 0])


def test_regions_take_the_hinge_unless_told_otherwise():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 1, 4, 5), torch.randint(0, 2, (2, 4, 5))
    case = label[:, None] == 1, torch.ones(2, 1, 4, 5, dtype=torch.bool), torch.ones(2, 1) > 0
    hinge, soft = LovaszLoss("sigmoid", ((1,),)), LovaszLoss("sigmoid", ((1,),), hinge=False)
    torch.testing.assert_close(hinge(logits, label), lovasz_hinge_loss(logits, *case))
    torch.testing.assert_close(soft(logits, label), lovasz_softmax_loss(logits.sigmoid(), *case))
