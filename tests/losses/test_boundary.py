from __future__ import annotations

import pytest
import torch
from monai.losses import BoundaryLoss as MonaiBoundary

from medseg.errors import ConfigError
from medseg.losses import build_loss
from medseg.losses.boundary import BoundaryLoss, boundary_field, boundary_loss
from tests.losses.distances import KNOWN, R_PROBS, R_TRUTH, loss_of, random_case, scipy_field

SHAPES = pytest.mark.parametrize("shape", [(3, 13, 17), (2, 9, 10, 11)])


def test_worked_values():
    field = boundary_field(R_TRUTH, R_TRUTH | True)
    assert field.flatten().tolist() == [2, 1, -1, -1, 1, 2]
    assert loss_of(boundary_loss) == pytest.approx(-0.0166666667, abs=1e-9)
    assert loss_of(boundary_loss, R_TRUTH.double()) == pytest.approx(-0.3333333333, abs=1e-9)
    assert loss_of(boundary_loss, convention="kervadec") == pytest.approx(0.2166666667, abs=1e-9)
    assert loss_of(boundary_loss, spacing=(0.5,)) == pytest.approx(-0.0083333333, abs=1e-9)
    assert loss_of(boundary_loss, normalize=True) == pytest.approx(-0.0166666667 / 2, abs=1e-9)


@SHAPES
@pytest.mark.parametrize("background", [False, True])
def test_kervadec_equals_monai(shape, background):
    logits, label = random_case(shape, channels=4)
    label[label == 3] = 0  # class 3 is absent
    loss = build_loss(
        {"name": "boundary", "convention": "kervadec", "include_background": background}, "softmax"
    )
    peer = MonaiBoundary(include_background=background, to_onehot_y=True, softmax=True)
    torch.testing.assert_close(
        loss(logits.float(), label), peer(logits.float(), label[:, None]), atol=2e-6, rtol=1e-5
    )


@SHAPES
@pytest.mark.parametrize("normalize", [False, True])
def test_equals_scipy_at_any_spacing(shape, normalize):
    logits, label = random_case(shape)
    probs, spacing = logits.softmax(1), (2.5, 0.8, 1.1)[: len(shape) - 1]
    values = []
    for b, c in ((b, c) for b in range(shape[0]) for c in (1, 2)):
        mask = label[b] == c
        field = torch.from_numpy(scipy_field(mask, spacing))
        field = field / field.max() if normalize else field
        values.append((probs[b, c] * torch.where(mask, -field, field)).mean())
    loss = BoundaryLoss("softmax", spacing=spacing, normalize=normalize)
    torch.testing.assert_close(
        loss(logits, label), torch.stack(values).mean(), atol=1e-6, rtol=1e-5
    )


def test_kervadec_is_refused_where_it_means_nothing():
    """At a spacing of 0.5 mm the published code gives +0.5 inside the object."""
    with pytest.raises(ConfigError, match=r"kervadec.*\(0.5, 1.0\).*'interface'"):
        BoundaryLoss("softmax", spacing=(0.5, 1.0), convention="kervadec")
    with pytest.raises(ConfigError, match="kervadec"):
        loss_of(boundary_loss, spacing=(0.5,), convention="kervadec")
    with pytest.raises(ConfigError, match="did you mean 'interface'"):
        BoundaryLoss("softmax", convention="interfaces")


def test_a_map_never_crosses_the_batch_axis():
    truth = torch.zeros(2, 1, 4, 5, dtype=torch.bool)
    truth[0, 0, 1:3, 1:4] = True
    field = boundary_field(truth, truth | True)
    assert field[1].eq(0).all()  # published code measures from the first image: 1 here
    assert torch.equal(field[:1], boundary_field(truth[:1], truth[:1] | True))


@pytest.mark.parametrize("convention", ["interface", "kervadec"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("value", [0, 1])
def test_an_absent_or_full_class_has_no_boundary(convention, normalize, value):
    loss = BoundaryLoss("softmax", convention=convention, normalize=normalize)
    logits = torch.randn(2, 2, 4, 5, requires_grad=True)
    result = loss(logits, torch.full((2, 4, 5), value))
    result.backward()
    assert result == 0
    assert logits.grad.eq(0).all()


def test_ignored_voxels_are_background_to_the_map_and_weigh_nothing():
    truth = torch.tensor([[[0, 0, 1, 1, 1, 0]]]).bool()
    valid = torch.tensor([[[1, 1, 1, 1, 0, 1]]]).bool()
    field = boundary_field(truth, valid)
    assert field.flatten().tolist() == [2, 1, -1, -1, 0, 2]
    want = (2 * 0.1 + 0.2 - 0.8 - 0.6 + 2 * 0.1) / 5
    assert loss_of(boundary_loss, truth=truth, valid=valid) == pytest.approx(want)


def test_a_field_made_ahead_gives_the_same():
    logits, label = random_case((2, 9, 10, 11), ignored=True)
    loss = BoundaryLoss("softmax", spacing=(2.0, 1.0, 0.7))
    field = loss.target_field(label, 3)
    before = field.clone()
    assert field.shape == (2, 2, 9, 10, 11)
    torch.testing.assert_close(loss(logits, label, field=field), loss(logits, label))
    assert loss(logits, label, field=-field) == -loss(logits, label)  # it is used
    assert torch.equal(field, before)
    with pytest.raises(ValueError, match="target_field"):
        loss(logits, label, field=field[:, :1])


def test_background_counts_only_if_asked_and_one_channel_always():
    logits, label = random_case((2, 9, 10))
    assert BoundaryLoss("softmax", include_background=True).target_field(label, 3).shape[1] == 3
    regions = BoundaryLoss("sigmoid", ((1, 2),))
    truth = (label > 0)[:, None]
    expected = boundary_loss(logits[:, :1].sigmoid(), truth, truth | True, KNOWN.expand(2, 1))
    torch.testing.assert_close(regions(logits[:, :1], label), expected)


def test_spacing_of_the_wrong_length_is_refused():
    logits, label = random_case((2, 9, 10))
    with pytest.raises(ConfigError, match="2 spatial axes"):  # or it would cross the channels
        BoundaryLoss("softmax", spacing=(1.0, 1.0, 1.0))(logits, label)
    with pytest.raises(ConfigError, match="positive"):
        BoundaryLoss("softmax", spacing=(1.0, 0.0))


def test_gradients():
    probs = R_PROBS.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: boundary_loss(p, R_TRUTH, R_TRUTH | True, KNOWN, spacing=(0.5,)), (probs,)
    )
    logits, label = random_case((2, 9, 10))
    logits.requires_grad_()
    BoundaryLoss("softmax")(logits, label).backward()
    assert logits.grad.isfinite().all()


def test_reduction_none_gives_one_value_per_image_and_channel():
    logits, label = random_case((2, 9, 10))
    probs, truth = logits.softmax(1), torch.stack([label == c for c in range(3)], 1)
    known = torch.tensor([[True, True, False], [True, True, True]])
    each = boundary_loss(probs, truth, truth | True, known, reduction="none")
    assert each.shape == (2, 3)
    assert each[0, 2] == 0
    mean = boundary_loss(probs, truth, truth | True, known)
    torch.testing.assert_close(mean, (each[0].sum() / 2 + each[1].sum() / 3) / 2)
