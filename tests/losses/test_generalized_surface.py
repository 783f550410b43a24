from __future__ import annotations

import pytest
import torch

from medseg.errors import ConfigError
from medseg.losses.generalized_surface import GeneralizedSurfaceLoss, generalized_surface_loss
from tests.losses.distances import KNOWN, R_PROBS, R_TRUTH, loss_of, random_case, scipy_field


def test_worked_values():
    probs = torch.cat((1 - R_PROBS, R_PROBS), 1)
    truth = torch.cat((~R_TRUTH, R_TRUTH), 1)
    for weighting in ("volume", "squared"):
        value = loss_of(generalized_surface_loss, probs, truth, weighting=weighting)
        assert value == pytest.approx(0.3158333333, abs=1e-9)
    assert loss_of(generalized_surface_loss) == pytest.approx(1 - 8.21 / 12, abs=1e-9)
    assert loss_of(generalized_surface_loss, R_TRUTH.double()) == pytest.approx(0, abs=1e-12)
    assert loss_of(generalized_surface_loss, (~R_TRUTH).double()) == pytest.approx(1, abs=1e-12)
    assert loss_of(generalized_surface_loss, R_TRUTH.double() * 0 + 0.5) == pytest.approx(0.75)


@pytest.mark.parametrize("shape", [(3, 13, 17), (2, 9, 10, 11)])
@pytest.mark.parametrize("weighting", ["volume", "squared"])
def test_equals_the_formula_with_scipy(shape, weighting):
    logits, label = random_case(shape)
    label[0][label[0] == 2] = 1  # class 2 is absent in one image
    probs, spacing = logits.softmax(1), (2.5, 0.8, 1.1)[: len(shape) - 1]
    losses = []
    for b in range(shape[0]):
        above = below = 0.0
        for c in (1, 2):
            mask = label[b] == c
            size = int(mask.sum())
            weight = 1 / max(size, 1) if weighting == "volume" else 1 / (size**2 + 1)
            d = torch.from_numpy(scipy_field(mask, spacing))
            above += weight * (d * (1 - (mask.double() + probs[b, c]))).square().sum()
            below += weight * d.square().sum()
        losses.append(1 - above / below)
    loss = GeneralizedSurfaceLoss("softmax", spacing=spacing, weighting=weighting)
    torch.testing.assert_close(
        loss(logits, label), torch.stack(losses).mean(), atol=1e-6, rtol=1e-5
    )


def test_does_not_depend_on_the_unit_of_length():
    logits, label = random_case((2, 9, 10))
    in_mm = GeneralizedSurfaceLoss("softmax", spacing=(1.0, 2.0))(logits, label)
    in_cm = GeneralizedSurfaceLoss("softmax", spacing=(0.1, 0.2))(logits, label)
    torch.testing.assert_close(in_cm, in_mm, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("value", [0, 1, -1])
def test_without_any_boundary_the_loss_is_zero(value):
    logits = torch.randn(2, 2, 4, 5, requires_grad=True)
    loss = GeneralizedSurfaceLoss("softmax")(logits, torch.full((2, 4, 5), value))
    loss.backward()
    assert loss == 0
    assert logits.grad.eq(0).all()


def test_ignored_voxels_weigh_nothing():
    truth = torch.tensor([[[0, 0, 1, 1, 1, 0]]]).bool()
    valid = torch.tensor([[[1, 1, 1, 1, 0, 1]]]).bool()
    above = 4 * 0.81 + 0.64 + 0.64 + 0.36 + 4 * 0.81
    value = loss_of(generalized_surface_loss, truth=truth, valid=valid)
    assert value == pytest.approx(1 - above / (4 + 1 + 1 + 1 + 4))


def test_a_field_made_ahead_gives_the_same():
    logits, label = random_case((2, 9, 10, 11), ignored=True)
    loss = GeneralizedSurfaceLoss("softmax", spacing=(2.0, 1.0, 0.7))
    field = loss.target_field(label, 3)
    torch.testing.assert_close(loss(logits, label, field=field), loss(logits, label))
    assert loss(logits, label, field=field + 1) != loss(logits, label)


def test_gradcheck_and_reduction():
    probs = R_PROBS.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: generalized_surface_loss(p, R_TRUTH, R_TRUTH | True, KNOWN, spacing=(0.5,)),
        (probs,),
    )
    each = generalized_surface_loss(probs, R_TRUTH, R_TRUTH | True, KNOWN, reduction="none")
    assert each.shape == (1,)
    with pytest.raises(ConfigError, match="weighting"):
        GeneralizedSurfaceLoss("softmax", weighting="cubed")
