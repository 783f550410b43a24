from __future__ import annotations

import math

import pytest
import torch
from monai.losses import FocalLoss as MonaiFocalLoss
from torch.nn import functional

from medseg.errors import ConfigError
from medseg.losses import build_loss
from medseg.losses.focal import focal_loss, sigmoid_focal_loss
from tests.losses.worked import B_LABEL, B_LOGITS, LABEL, LAST_IGNORED, LOGITS

TRUTH = functional.one_hot(LABEL, 3).movedim(-1, 1).bool()
B_TRUTH = B_LABEL.bool().unsqueeze(1)
QUARTER = torch.tensor(0.25, dtype=torch.float64)


def random_case(*spatial: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, *spatial, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 3, (2, *spatial), generator=generator)


def test_worked_values_softmax():
    loss = focal_loss(LOGITS, LABEL).item()
    assert loss == pytest.approx(0.0798050962, abs=1e-9)
    assert loss != pytest.approx(0.0798010528, abs=1e-6)  # what smoothed targets would give
    assert focal_loss(LOGITS, LAST_IGNORED).item() == pytest.approx(0.0486445299, abs=1e-9)


def test_worked_values_sigmoid():
    for logits, truth, plain, balanced in [
        (LOGITS, TRUTH, 0.1275799881, 0.0337908574),
        (B_LOGITS, B_TRUTH, 0.0289850138, 0.0113905472),
    ]:
        loss = sigmoid_focal_loss(logits, truth, truth | True)
        assert loss.item() == pytest.approx(plain, abs=1e-9)
        loss = sigmoid_focal_loss(logits, truth, truth | True, alpha=QUARTER)
        assert loss.item() == pytest.approx(balanced, abs=1e-9)


def test_alpha_is_the_weight_of_the_true_class():
    alpha = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    parts = [a * -((1 - p) ** 2) * math.log(p) for a, p in [(1, 0.7), (2, 0.7), (4, 0.6), (1, 0.5)]]
    loss = focal_loss(LOGITS, LABEL, alpha=alpha)
    assert loss.item() == pytest.approx(sum(parts) / 4)


def test_alpha_weighs_positives_of_its_own_channel():
    logits = torch.zeros(1, 2, 2, dtype=torch.float64)  # p = 1/2 everywhere
    truth = torch.tensor([[[True, False], [True, True]]])
    alpha = torch.tensor([0.9, 0.2], dtype=torch.float64)
    each = sigmoid_focal_loss(logits, truth, truth | True, alpha=alpha, reduction="none")
    share = each / (math.log(2) / 4)
    torch.testing.assert_close(share, torch.tensor([[[0.9, 0.1], [0.2, 0.2]]], dtype=torch.double))


def test_gamma_zero_is_cross_entropy():
    logits, label = random_case(4, 5)
    torch.testing.assert_close(
        focal_loss(logits, label, gamma=0.0), functional.cross_entropy(logits, label)
    )
    truth = functional.one_hot(label, 3).movedim(-1, 1).bool()
    torch.testing.assert_close(
        sigmoid_focal_loss(logits, truth, truth | True, gamma=0.0),
        functional.binary_cross_entropy_with_logits(logits, truth.double()),
    )


@pytest.mark.parametrize("spatial", [(4, 5), (3, 4, 2)])
@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.5])
def test_softmax_kind_is_monai_times_the_number_of_classes(spatial, gamma):
    logits, label = random_case(*spatial)
    peer = MonaiFocalLoss(use_softmax=True, to_onehot_y=True, gamma=gamma)(logits, label[:, None])
    torch.testing.assert_close(focal_loss(logits, label, gamma=gamma), peer.double() * 3)


def test_monai_value_of_the_worked_case():
    peer = MonaiFocalLoss(use_softmax=True, to_onehot_y=True)(LOGITS, LABEL[:, None]).item()
    assert peer == pytest.approx(0.0266016964, abs=1e-7)
    assert focal_loss(LOGITS, LABEL).item() / 3 == pytest.approx(peer, abs=1e-7)


@pytest.mark.parametrize("spatial", [(4, 5), (3, 4, 2)])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_sigmoid_kind_is_monai_by_default(spatial, alpha):
    logits, label = random_case(*spatial)
    truth = functional.one_hot(label, 3).movedim(-1, 1).bool()
    peer = MonaiFocalLoss(to_onehot_y=True, alpha=alpha)(logits, label[:, None])
    mine = sigmoid_focal_loss(logits, truth, truth | True, alpha=None if alpha is None else QUARTER)
    torch.testing.assert_close(mine, peer.double())


def test_ignored_voxels_as_in_monai():
    peer = MonaiFocalLoss(use_softmax=True, to_onehot_y=True, ignore_index=255, reduction="none")
    each = peer(LOGITS, LAST_IGNORED.where(LAST_IGNORED >= 0, 255)[:, None]).double()
    torch.testing.assert_close(each.sum() / 3, focal_loss(LOGITS, LAST_IGNORED))


@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.0])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize("size", [20.0, 100.0, 1000.0])
def test_gradients_of_small_powers_are_finite_when_sure(gamma, kind, size):
    loss = build_loss({"name": "focal", "gamma": gamma, "kind": kind}, "softmax")
    for sign in (1, -1):
        logits = (sign * size * (2.0 * TRUTH - 1)).float().requires_grad_()
        value = loss(logits, LABEL)
        value.backward()
        assert value.isfinite()
        assert logits.grad.isfinite().all()
        assert sign == 1 or value > 1


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradients_are_those_of_the_formula(gamma):
    logits, label = random_case(3, 2)
    logits.requires_grad_()
    truth = functional.one_hot(label, 3).movedim(-1, 1).bool()
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, label, gamma=gamma), (logits,))
    assert torch.autograd.gradcheck(
        lambda x: sigmoid_focal_loss(x, truth, truth | True, gamma=gamma, alpha=QUARTER), (logits,)
    )


def test_the_kind_is_said_explicitly():
    values = {
        kind: build_loss({"name": "focal", "kind": kind}, "softmax")(LOGITS, LABEL).item()
        for kind in ("softmax", "sigmoid")
    }
    assert values == pytest.approx({"softmax": 0.0798050962, "sigmoid": 0.1275799881})
    assert build_loss({"name": "focal"}, "softmax")(LOGITS, LABEL) == values["softmax"]
    b = build_loss({"name": "focal", "alpha": 0.25}, "sigmoid", ((1,),))
    assert b(B_LOGITS, B_LABEL).item() == pytest.approx(0.0113905472)


def test_one_against_the_rest_leaves_out_unannotated_classes():
    loss = build_loss({"name": "focal", "kind": "sigmoid"}, "softmax")
    logits, label = random_case(4, 5)
    label = label.clamp(max=1)
    annotated = torch.tensor([[False, True, False]] * 2)  # background is known in any case
    merged = torch.stack((logits[:, [0, 2]].logsumexp(1), logits[:, 1]), 1)
    torch.testing.assert_close(loss(logits, label, annotated=annotated), loss(merged, label))


def test_settings_that_cannot_be_meant_are_refused():
    with pytest.raises(ConfigError, match="regions overlap"):
        build_loss({"name": "focal", "kind": "softmax"}, "sigmoid", ((1,),))
    for settings, message in [
        ({"gamma": -1.0}, "gamma"),
        ({"alpha": [-1.0, 1.0, 1.0]}, "alpha"),
        ({"alpha": 2.0, "kind": "sigmoid"}, r"\[0, 1\]"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build_loss({"name": "focal", **settings}, "softmax")
    with pytest.raises(ConfigError, match="3 channels"):
        build_loss({"name": "focal", "alpha": [1.0, 1.0]}, "softmax")(LOGITS, LABEL)
