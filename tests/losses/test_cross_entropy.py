from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.losses import build_loss
from medseg.losses.cross_entropy import binary_cross_entropy, cross_entropy
from tests.losses.worked import B_LABEL, B_LOGITS, LABEL, LAST_IGNORED, LOGITS

WEIGHTS = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
B_TRUTH = B_LABEL.bool().unsqueeze(1)
ALL = torch.ones_like(B_TRUTH)


def random_case(*spatial: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, *spatial, generator=generator, dtype=torch.float64)
    return logits, torch.randint(-1, 3, (2, *spatial), generator=generator)


def test_worked_values():
    assert cross_entropy(LOGITS, LABEL).item() == pytest.approx(0.4793306731, abs=1e-9)
    assert cross_entropy(LOGITS, LAST_IGNORED).item() == pytest.approx(0.4080585039, abs=1e-9)


def test_both_norms_of_a_weighted_mean():
    by_weight = cross_entropy(LOGITS, LABEL, class_weights=WEIGHTS)
    by_count = cross_entropy(LOGITS, LABEL, class_weights=WEIGHTS, norm="count")
    assert by_weight.item() == pytest.approx(0.4758093134, abs=1e-9)
    assert by_count.item() == pytest.approx(0.9516186269, abs=1e-9)
    three = -torch.tensor([0.7, 0.7**2, 0.6**4]).log().sum().item()  # weights 1, 2, 4
    ignoring = cross_entropy(LOGITS, LAST_IGNORED, class_weights=WEIGHTS)
    assert ignoring.item() == pytest.approx(three / 7, abs=1e-6)
    ignoring = cross_entropy(LOGITS, LAST_IGNORED, class_weights=WEIGHTS, norm="count")
    assert ignoring.item() == pytest.approx(three / 3, abs=1e-6)


def test_beta_weighs_positive_voxels():
    loss = binary_cross_entropy(B_LOGITS, B_TRUTH, ALL)
    assert loss.item() == pytest.approx(-math.log(0.9 * 0.6 * 0.7 * 0.9) / 4, abs=1e-9)
    beta = torch.tensor(2.0, dtype=torch.float64)
    loss = binary_cross_entropy(B_LOGITS, B_TRUTH, ALL, pos_weight=beta)
    assert loss.item() == pytest.approx(0.4236019346, abs=1e-9)
    peer = torch.nn.BCEWithLogitsLoss(pos_weight=beta)(B_LOGITS, B_TRUTH.double())
    torch.testing.assert_close(loss, peer)


def test_equals_torch():
    expected = functional.cross_entropy(LOGITS, LABEL)
    torch.testing.assert_close(cross_entropy(LOGITS, LABEL), expected)
    torch.testing.assert_close(
        binary_cross_entropy(B_LOGITS, B_TRUTH, ALL),
        functional.binary_cross_entropy_with_logits(B_LOGITS, B_TRUTH.double()),
    )


@pytest.mark.parametrize("spatial", [(7,), (4, 5), (3, 4, 2)])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_weights_smoothing_and_ignored_voxels_equal_torch(spatial, weights, smoothing, reduction):
    logits, label = random_case(*spatial)
    mine = cross_entropy(
        logits, label, class_weights=weights, label_smoothing=smoothing, reduction=reduction
    )
    peer = functional.cross_entropy(
        logits,
        label,
        weight=weights,
        ignore_index=-1,
        label_smoothing=smoothing,
        reduction=reduction,
    )
    torch.testing.assert_close(mine, peer, rtol=0, atol=1e-12)


def test_binary_weights_equal_torch():
    logits, label = random_case(4, 5)
    truth = torch.stack([label == 1, label >= 1, label == 2], 1)
    beta = WEIGHTS.flip(0)
    mine = binary_cross_entropy(
        logits, truth, truth | True, class_weights=WEIGHTS, pos_weight=beta, norm="count"
    )
    peer = functional.binary_cross_entropy_with_logits(
        logits,
        truth.double(),
        weight=WEIGHTS.reshape(3, 1, 1),
        pos_weight=beta.reshape(3, 1, 1),
    )
    torch.testing.assert_close(mine, peer)
    by_weight = binary_cross_entropy(
        logits, truth, truth | True, class_weights=WEIGHTS, pos_weight=beta
    )
    torch.testing.assert_close(by_weight, peer * 3 / WEIGHTS.sum())


def test_two_regions_of_unlike_weight_by_hand():
    logits = torch.tensor([[[0.8], [0.5]]]).logit()
    truth = torch.tensor([[[True], [True]]])
    weights = torch.tensor([3.0, 1.0])
    first, second = -math.log(0.8), -math.log(0.5)
    loss = binary_cross_entropy(logits, truth, truth, class_weights=weights)
    assert loss.item() == pytest.approx((3 * first + second) / 4)
    only = truth & torch.tensor([[[False], [True]]])
    loss = binary_cross_entropy(logits, truth, only, class_weights=weights, norm="count")
    assert loss.item() == pytest.approx(second)


def test_smoothing_of_a_region_is_that_of_two_classes():
    torch.testing.assert_close(
        binary_cross_entropy(B_LOGITS, B_TRUTH, ALL, label_smoothing=0.1),
        functional.cross_entropy(
            torch.cat((torch.zeros_like(B_LOGITS), B_LOGITS), 1), B_LABEL, label_smoothing=0.1
        ),
    )


def test_a_masked_channel_takes_no_part_in_the_mean():
    logits = torch.tensor([[[2.0, -1.0], [0.5, 0.5]]])
    truth = torch.tensor([[[True, False], [True, True]]])
    valid = torch.tensor([[[True, True], [False, False]]])
    alone = binary_cross_entropy(logits[:, :1], truth[:, :1], valid[:, :1])
    torch.testing.assert_close(binary_cross_entropy(logits, truth, valid), alone)


def test_gradient_is_probability_minus_truth_over_voxels():
    logits = LOGITS.clone().requires_grad_()
    cross_entropy(logits, LABEL).backward()
    truth = functional.one_hot(LABEL, 3).movedim(-1, 1)
    torch.testing.assert_close(logits.grad, (LOGITS.softmax(1) - truth) / 4)


def test_the_log_is_never_taken_of_a_vanished_probability():
    logits = torch.tensor([[[200.0], [-200.0]]], requires_grad=True)  # p = exp(-400) is 0
    loss = cross_entropy(logits, torch.tensor([[1]]))
    loss.backward()
    assert loss.item() == 400
    assert logits.grad.flatten().tolist() == [1, -1]


def test_nothing_to_count_is_zero_with_a_zero_gradient():
    for weights, label in [
        (WEIGHTS, torch.full_like(LABEL, -1)),
        (torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), torch.full_like(LABEL, 2)),
    ]:
        for norm in ("weight", "count"):
            logits = LOGITS.clone().requires_grad_()
            loss = cross_entropy(logits, label, class_weights=weights, norm=norm)
            loss.backward()
            assert loss == 0
            assert logits.grad.abs().sum() == 0


def test_weights_below_one_are_divided_by_their_own_sum():
    tiny = torch.full((3,), 1e-3, dtype=torch.float64)
    loss = cross_entropy(LOGITS, LABEL, class_weights=tiny)
    assert loss.item() == pytest.approx(0.4793306731, abs=1e-9)


def test_smoothing_leaves_unannotated_classes_alone():
    loss = build_loss({"name": "cross_entropy", "label_smoothing": 0.3}, "softmax")
    logits, label = random_case(4, 5)
    label = label.clamp(max=1)
    annotated = torch.tensor([[True, True, False]] * 2)
    merged = torch.stack((logits[:, [0, 2]].logsumexp(1), logits[:, 1]), 1)
    torch.testing.assert_close(loss(logits, label, annotated=annotated), loss(merged, label))


def test_gradients_are_those_of_the_formula():
    logits, label = random_case(3, 2)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: cross_entropy(x, label, class_weights=WEIGHTS, label_smoothing=0.1), (logits,)
    )


def test_the_module_weighs_as_the_function_does():
    settings = {"name": "cross_entropy", "class_weights": [1, 2, 4]}
    assert build_loss(settings, "softmax")(LOGITS, LABEL).item() == pytest.approx(0.4758093134)
    by_count = build_loss({**settings, "norm": "count"}, "softmax")
    assert by_count(LOGITS, LABEL).item() == pytest.approx(0.9516186269)
    beta = build_loss({"name": "cross_entropy", "pos_weight": 2.0}, "sigmoid", ((1,),))
    assert beta(B_LOGITS, B_LABEL).item() == pytest.approx(0.4236019346)


def test_settings_that_cannot_be_meant_are_refused():
    with pytest.raises(ConfigError, match="2 values, and the network 3 channels"):
        build_loss({"name": "cross_entropy", "class_weights": [1, 2]}, "softmax")(LOGITS, LABEL)
    for settings, message in [
        ({"class_weights": [1, -2, 1]}, "0 or more"),
        ({"label_smoothing": 1.0}, r"\[0, 1\)"),
        ({"pos_weight": 2.0}, "class_weights"),
        ({"norm": "sum"}, "norm"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build_loss({"name": "cross_entropy", **settings}, "softmax")


def test_int16_labels_are_taken():
    loss = build_loss({"name": "cross_entropy"}, "softmax")
    assert loss(LOGITS, LABEL.short()).item() == pytest.approx(0.4793306731, abs=1e-6)
