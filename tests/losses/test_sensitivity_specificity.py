from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.losses import build_loss
from medseg.losses.sensitivity_specificity import sensitivity_specificity_loss
from tests.losses.worked import B_LABEL, B_LOGITS, LABEL, LAST_IGNORED, LOGITS, PROBS, WITHOUT_2

KNOWN = torch.ones(1, 3, dtype=torch.bool)


def one_hot(label):
    return functional.one_hot(label, 3).movedim(-1, 1).bool()


def measure(probs, truth, **settings):
    known = torch.ones(truth.shape[:2], dtype=torch.bool)
    return sensitivity_specificity_loss(probs, truth, torch.ones_like(truth), known, **settings)


def make(activation="softmax", **settings):
    regions = () if activation == "softmax" else ((1,),)
    return build_loss({"name": "sensitivity_specificity", **settings}, activation, regions)


@pytest.mark.parametrize(
    ("weight", "smooth", "value"),
    [(0.05, 0.0, 0.0444722222), (0.1, 0.0, 0.0495), (0.1, 1.0, 0.0339444444)],
)
def test_worked_values(weight, smooth, value):
    loss = measure(PROBS, one_hot(LABEL), sensitivity_weight=weight, smooth=smooth)
    assert loss.item() == pytest.approx(value, abs=1e-9)
    module = make(sensitivity_weight=weight, smooth=smooth, include_background=True)
    assert module(LOGITS, LABEL).item() == pytest.approx(value, abs=1e-9)


def test_sums_over_classes_are_not_taken_before_dividing():
    loss = measure(PROBS, one_hot(LABEL), sensitivity_weight=0.1, smooth=0.0)
    errors = (one_hot(LABEL).double() - PROBS).square()
    inside = one_hot(LABEL)
    micro = 0.1 * errors[inside].mean() + 0.9 * errors[~inside].mean()
    assert micro.item() == pytest.approx(0.051875)
    assert loss.item() != pytest.approx(micro.item(), abs=1e-4)


def test_each_image_and_class_by_hand():
    truth = one_hot(LABEL)
    losses = measure(PROBS, truth, sensitivity_weight=0.05, smooth=0.0, reduction="none")
    zero = 0.05 * (0.3**2 + 0.5**2) / 2 + 0.95 * (0.2**2 + 0.1**2) / 2
    one = 0.05 * 0.3**2 + 0.95 * (0.2**2 + 0.3**2 + 0.3**2) / 3
    two = 0.05 * 0.4**2 + 0.95 * (0.1**2 + 0.1**2 + 0.2**2) / 3
    assert losses.shape == (1, 3)
    assert losses[0].tolist() == pytest.approx([zero, one, two])


def test_the_weight_is_that_of_missed_objects():
    truth = torch.tensor([[[True, True, False, False]]])
    missed = measure(torch.zeros(1, 1, 4), truth, sensitivity_weight=0.2, smooth=0.0)
    invented = measure(torch.ones(1, 1, 4), truth, sensitivity_weight=0.2, smooth=0.0)
    assert missed.item() == pytest.approx(0.2)
    assert invented.item() == pytest.approx(0.8)


def test_size_of_the_object_does_not_matter():
    truth = torch.zeros(2, 1, 100, dtype=torch.bool)
    truth[0, 0, :1], truth[1, 0, :40] = True, True
    missed = measure(torch.zeros(2, 1, 100), truth, reduction="none", smooth=0.0)
    assert missed[0] == missed[1]
    distorted = measure(torch.zeros(2, 1, 100), truth, reduction="none", smooth=1.0)
    assert distorted[0] < 0.6 * distorted[1]  # why smooth is small by default


def test_absent_and_full_classes_are_finite_without_smoothing():
    truth = one_hot(WITHOUT_2)
    losses = measure(PROBS, truth, smooth=0.0, reduction="none")
    specific = 0.95 * PROBS[0, 2].square().mean()
    torch.testing.assert_close(losses[0, 2], specific)
    full = torch.ones(1, 1, 4, dtype=torch.bool)
    probs = torch.full((1, 1, 4), 0.5, requires_grad=True)
    loss = measure(probs, full, smooth=0.0)
    loss.backward()
    assert loss.item() == pytest.approx(0.05 * 0.25)
    assert probs.grad.isfinite().all()


def test_absent_classes_can_be_skipped_or_count_as_zero():
    truth = one_hot(WITHOUT_2)
    keep = measure(PROBS, truth, reduction="none")[0]
    skip = measure(PROBS, truth, absent="skip")
    zero = measure(PROBS, truth, absent="zero")
    torch.testing.assert_close(skip, keep[:2].mean())
    torch.testing.assert_close(zero, keep[:2].sum() / 3)


def test_ignored_voxels_do_not_count():
    loss = make(include_background=True)
    three = LABEL.flatten(1)[:, :3]
    expected = loss(LOGITS.flatten(2)[..., :3], three)
    torch.testing.assert_close(loss(LOGITS, LAST_IGNORED), expected)


def test_over_the_batch_or_per_image():
    probs = torch.tensor([[[1.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]])
    truth = torch.tensor([[[True, False, False, False]], [[True, True, True, False]]])
    settings = {"sensitivity_weight": 1.0, "smooth": 0.0}
    assert measure(probs, truth, **settings).item() == pytest.approx(0.5)  # 0 and 1
    assert measure(probs, truth, batch=True, **settings).item() == pytest.approx(0.75)  # 3 of 4


def test_background_is_left_out_unless_asked_for():
    truth = one_hot(LABEL)
    expected = measure(PROBS[:, 1:], truth[:, 1:])
    torch.testing.assert_close(make()(LOGITS, LABEL), expected)
    one = make("sigmoid")(B_LOGITS, B_LABEL)  # one channel is never background
    assert one.item() == pytest.approx(
        0.05 * (0.01 + 0.16) / 2 + 0.95 * (0.09 + 0.01) / 2, rel=1e-4
    )


@pytest.mark.parametrize("spatial", [(4, 5), (3, 4, 2)])
def test_stays_within_zero_and_one_and_equals_masked_means(spatial):
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(2, 3, *spatial, generator=generator, dtype=torch.float64)
    truth = torch.rand(2, 3, *spatial, generator=generator) > 0.6
    losses = measure(probs, truth, sensitivity_weight=0.3, smooth=0.0, reduction="none")
    for image in range(2):
        for c in range(3):
            p, g = probs[image, c], truth[image, c]
            expected = 0.3 * (1 - p[g]).square().mean() + 0.7 * p[~g].square().mean()
            torch.testing.assert_close(losses[image, c], expected)
    assert measure(1 - truth.double(), truth, smooth=0.0).item() == pytest.approx(1)
    assert measure(truth.double(), truth) == 0


def test_gradients_are_those_of_the_formula():
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: make()(x, LABEL), (logits,))


def test_settings_out_of_range_are_refused():
    for settings in ({"sensitivity_weight": 1.5}, {"smooth": -1.0}):
        with pytest.raises(ConfigError):
            make(**settings)
