from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.losses import build_loss
from medseg.losses.border_map import border_weight_map
from medseg.losses.border_weighted import (
    border_weighted_binary_cross_entropy,
    border_weighted_cross_entropy,
)
from medseg.losses.cross_entropy import cross_entropy
from tests.losses.worked import LABEL, LAST_IGNORED, LOGITS

GAP = torch.tensor([[1, 1, 0, 0, 0, 1, 1]])  # two objects of one class
TERM = 10 * math.exp(-16 / 50)
BORDER = torch.tensor([[[0.5, 2.0], [0.0, 1.0]]], dtype=torch.float64)
EACH = -torch.tensor([0.7, 0.7, 0.6, 0.5], dtype=torch.float64).log()
FACTOR = torch.tensor([1.5, 3.0, 1.0, 2.0], dtype=torch.float64)


def make(activation="softmax", **settings):
    regions = () if activation == "softmax" else ((1, 2), (2,))
    spacing = settings.pop("given", None)
    return build_loss({"name": "border_weighted", **settings}, activation, regions, spacing)


def test_a_map_by_hand_and_both_norms():
    loss = border_weighted_cross_entropy(LOGITS, LABEL, BORDER)
    torch.testing.assert_close(loss, (EACH * FACTOR).sum() / 4)
    loss = border_weighted_cross_entropy(LOGITS, LABEL, BORDER, norm="weight")
    torch.testing.assert_close(loss, (EACH * FACTOR).sum() / FACTOR.sum())
    each = border_weighted_cross_entropy(LOGITS, LABEL, BORDER, reduction="none")
    torch.testing.assert_close(each.flatten(), EACH * FACTOR)


def test_the_class_weight_is_added_to_the_border():
    weights = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    factor = torch.tensor([1.0, 2.0, 4.0, 1.0], dtype=torch.float64) + BORDER.flatten()
    loss = border_weighted_cross_entropy(LOGITS, LABEL, BORDER, class_weights=weights)
    torch.testing.assert_close(loss, (EACH * factor).sum() / 4)


def test_ignored_voxels_weigh_nothing():
    kept = slice(0, 3)
    loss = border_weighted_cross_entropy(LOGITS, LAST_IGNORED, BORDER)
    torch.testing.assert_close(loss, (EACH * FACTOR)[kept].sum() / 3)
    loss = border_weighted_cross_entropy(LOGITS, LAST_IGNORED, BORDER, norm="weight")
    torch.testing.assert_close(loss, (EACH * FACTOR)[kept].sum() / FACTOR[kept].sum())


def test_an_undecided_network_pays_for_the_gap():
    loss = make()(torch.zeros(1, 2, 7), GAP)  # log 2 everywhere; never negative
    assert loss.item() == pytest.approx(math.log(2) * (7 + 3 * TERM) / 7)
    loss = make(norm="weight")(torch.zeros(1, 2, 7), GAP)
    assert loss.item() == pytest.approx(math.log(2))


def test_no_border_is_cross_entropy():
    torch.testing.assert_close(make(w0=0.0)(LOGITS, LABEL), cross_entropy(LOGITS, LABEL))
    single = torch.tensor([[0, 1, 1, 0, 0]])
    logits = torch.randn(1, 2, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(make()(logits, single), cross_entropy(logits, single))


def test_each_image_has_its_own_instances():
    label = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 1]])  # one object each: no border at all
    logits = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(make()(logits, label), cross_entropy(logits, label))
    field = make().target_field(torch.cat((GAP, GAP * 0)))
    assert field[1].abs().sum() == 0
    assert field[0].abs().sum() > 0


def test_an_ignored_object_is_background():
    label = torch.tensor([[1, 1, 0, 0, 0, -1, -1]])
    assert make().target_field(label).abs().sum() == 0


def test_true_instances_can_be_given():
    touching = torch.tensor([[1, 1, 0, 1, 1, 1, 1]])  # components see two objects, not three
    instances = torch.tensor([1, 1, 0, 2, 2, 3, 3])
    field = border_weight_map(instances)[None]
    logits = torch.zeros(1, 2, 7)
    loss = make()(logits, touching, field=field)
    assert loss.item() == pytest.approx(math.log(2) * (7 + 10 * math.exp(-4 / 50)) / 7)
    made = make().target_field(GAP)
    torch.testing.assert_close(make()(logits, GAP, field=made), make()(logits, GAP))


def test_regions_have_borders_of_their_own():
    label = torch.tensor([[2, 1, 0, 0, 1, 2]])  # region (2,) also has a gap where the label is 1
    field = make("sigmoid").target_field(label)
    assert (field[0, 0] > 0).tolist() == [False, False, True, True, False, False]
    assert (field[0, 1] > 0).tolist() == [False, True, True, True, True, False]
    weights = torch.tensor([2.0, 3.0])
    loss = make("sigmoid", class_weights=[2.0, 3.0])(torch.zeros(1, 2, 6), label)
    expected = math.log(2) * (field + weights[:, None]).mean()
    torch.testing.assert_close(loss, expected)


def test_binary_form_equals_torch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 4, 5, generator=generator, dtype=torch.float64)
    truth = torch.rand(2, 2, 4, 5, generator=generator) > 0.5
    border = torch.rand(2, 2, 4, 5, generator=generator, dtype=torch.float64)
    peer = functional.binary_cross_entropy_with_logits(logits, truth.double(), weight=1 + border)
    mine = border_weighted_binary_cross_entropy(logits, truth, truth | True, border)
    torch.testing.assert_close(mine, peer)
    by_weight = border_weighted_binary_cross_entropy(
        logits, truth, truth | True, border, norm="weight"
    )
    torch.testing.assert_close(by_weight, peer * border.numel() / (1 + border).sum())


def test_sigma_is_in_voxels_unless_said_otherwise():
    logits = torch.zeros(1, 2, 7)
    torch.testing.assert_close(make(given=(2.0,))(logits, GAP), make()(logits, GAP))
    in_mm = make(sigma_mm=5.0, given=(2.0,))(logits, GAP)
    assert in_mm.item() == pytest.approx(math.log(2) * (7 + 30 * math.exp(-64 / 50)) / 7)
    with pytest.raises(ConfigError, match="spacing"):
        make(sigma_mm=5.0)(logits, GAP)


def test_nothing_to_count_is_zero_with_a_zero_gradient():
    logits = torch.zeros(1, 2, 7, requires_grad=True)
    loss = make(norm="weight")(logits, torch.full_like(GAP, -1))
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().sum() == 0


def test_gradients_are_those_of_the_formula():
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: border_weighted_cross_entropy(x, LABEL, BORDER, norm="weight"), (logits,)
    )


def test_a_batch_of_volumes_is_served():
    label = torch.zeros(2, 5, 9, 4, dtype=torch.int16)
    label[0, :, 1:3], label[0, :, 6:8] = 1, 2
    logits = torch.zeros(2, 3, 5, 9, 4)
    field = make().target_field(label)
    assert field.shape == label.shape
    assert field[0, :, 3:6].min() > 0
    assert make()(logits, label) > math.log(3)


def test_settings_that_cannot_be_meant_are_refused():
    for settings in ({"sigma": 0.0}, {"sigma_mm": -1.0}, {"w0": -1.0}):
        with pytest.raises(ConfigError, match="positive"):
            make(**settings)
