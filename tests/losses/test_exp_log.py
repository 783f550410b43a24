from __future__ import annotations

import pytest
import torch

from medseg.errors import ConfigError
from medseg.losses import build_loss
from medseg.losses.exp_log import ExpLogLoss, exp_log_loss, frequency_weights
from tests.losses.region_cases import A
from tests.losses.worked import LABEL, LAST_IGNORED, LOGITS

FREQUENCIES = (0.5, 0.25, 0.25)


def surprise():
    return -LOGITS.log_softmax(1).gather(1, LABEL[:, None])


def weights():
    return torch.tensor(frequency_weights(FREQUENCIES), dtype=torch.float64)[LABEL[:, None]]


def test_worked_values():
    assert frequency_weights(FREQUENCIES) == pytest.approx((1.41421356, 2, 2), abs=1e-8)
    parts = A[0], surprise(), *A[1:]
    dice = exp_log_loss(*parts, weight_dice=1, weight_ce=0).item()
    cross = exp_log_loss(*parts, weight_dice=0, weight_ce=1, voxel_weights=weights()).item()
    total = exp_log_loss(*parts, voxel_weights=weights()).item()
    assert dice == pytest.approx(0.7110287519, abs=1e-9)
    assert cross == pytest.approx(1.3519717860, abs=1e-9)
    # 0.6636: no exponent on the cross entropy, and the logarithm of the mean Dice.
    assert total == pytest.approx(0.8392173587, abs=1e-9)


@pytest.mark.parametrize("background", [True, False])
def test_the_module_finds_the_true_class_with_and_without_background(background):
    loss = ExpLogLoss(
        "softmax",
        class_frequencies=(2, 1, 1),
        include_background=background,
        weight_dice=0.8 if background else 0.0,
    )
    expected = 0.8392173587 if background else 0.2 * 1.3519717860
    assert loss(LOGITS, LABEL).item() == pytest.approx(expected, abs=1e-6)


def test_equal_weights_without_frequencies():
    loss = ExpLogLoss("softmax", weight_dice=0.0, weight_ce=1.0)
    assert loss(LOGITS, LABEL).item() == pytest.approx((surprise() ** 0.3).mean().item(), abs=1e-9)
    three = surprise().flatten()[:3]
    assert loss(LOGITS, LAST_IGNORED).item() == pytest.approx((three**0.3).mean().item(), abs=1e-9)


def test_a_class_that_never_occurs_has_a_finite_weight():
    assert frequency_weights((0.9, 0.1, 0.0)) == pytest.approx((0.9**-0.5, 0.1**-0.5, 0.1**-0.5))
    loss = ExpLogLoss("softmax", class_frequencies=(1, 1, 0))
    assert loss(LOGITS, LABEL).isfinite()


def test_regions_weigh_inside_and_outside():
    logits = torch.tensor([[[0.0, 0.0]], [[0.0, 0.0]]]).movedim(0, 1)  # one image, two regions
    label = torch.tensor([[1, 0]])
    loss = ExpLogLoss(
        "sigmoid",
        ((1,), (1, 2)),
        class_frequencies=(0.2, 0.5),
        weight_dice=0.0,
        weight_ce=1.0,
        gamma=1.0,
    )
    mean = (0.2**-0.5 + 0.8**-0.5 + 2 * 0.5**-0.5) / 4
    assert loss(logits, label).item() == pytest.approx(mean * 0.69314718, abs=1e-6)


def test_gradients_are_finite_at_the_optimum_where_the_power_is_steep():
    for scale in (10.0, 40.0, 100.0):
        logits = (scale * (2 * A[1].float() - 1)).requires_grad_()
        loss = ExpLogLoss("softmax", class_frequencies=(2, 1, 1))(logits, LABEL)
        loss.backward()
        assert logits.grad.isfinite().all()
    assert loss.item() == 0


def test_wrong_frequencies_are_explained():
    with pytest.raises(ConfigError, match="class_frequencies"):
        build_loss({"name": "exp_log", "class_frequencies": [0, 0, 0]}, "softmax")
    with pytest.raises(ConfigError, match="shares"):
        build_loss({"name": "exp_log", "class_frequencies": [20.0]}, "sigmoid", ((1,),))
    loss = build_loss({"name": "exp_log", "class_frequencies": [1.0, 2.0]}, "softmax")
    with pytest.raises(ConfigError, match="2 class_frequencies for a network of 3"):
        loss(LOGITS, LABEL)
