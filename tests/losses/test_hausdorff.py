from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.losses import HausdorffDTLoss as MonaiHausdorff
from monai.losses import LogHausdorffDTLoss as MonaiLogHausdorff

from medseg.errors import ConfigError
from medseg.losses import build_loss
from medseg.losses.distance_target import distance_field
from medseg.losses.hausdorff import HausdorffDTLoss, hausdorff_dt_loss
from tests.losses.distances import KNOWN, R_PROBS, R_TRUTH, loss_of, random_case, scipy_field

SHAPES = pytest.mark.parametrize("shape", [(3, 13, 17), (2, 9, 10, 11)])


def test_worked_values():
    yes = R_TRUTH | True
    assert distance_field(R_TRUTH, yes, power=1).flatten().tolist() == [2, 1, 1, 1, 1, 2]
    assert distance_field(R_PROBS > 0.5, yes, power=1).flatten().tolist() == [2, 1, 1, 2, 1, 1]
    assert loss_of(hausdorff_dt_loss) == pytest.approx(0.3450000000, abs=1e-9)
    assert loss_of(hausdorff_dt_loss, alpha=1.0) == pytest.approx(0.2816666667, abs=1e-9)
    assert loss_of(hausdorff_dt_loss, spacing=(0.5,)) == pytest.approx(0.0862500000, abs=1e-9)
    assert loss_of(hausdorff_dt_loss, log=True) == pytest.approx(0.2963940131, abs=1e-9)
    one_sided = (4 * 0.01 + 0.04 + 0.04 + 0.16 + 0.49 + 4 * 0.01) / 6
    assert loss_of(hausdorff_dt_loss, one_sided=True) == pytest.approx(one_sided, abs=1e-9)
    assert loss_of(hausdorff_dt_loss, R_TRUTH.double()) == 0


@SHAPES
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("alpha", [1.0, 2.0, 1.5])
@pytest.mark.parametrize("log", [False, True])
def test_equals_monai(shape, background, alpha, log):
    logits, label = random_case(shape, channels=4)
    label[label == 3] = 0  # class 3 is absent
    settings = {"alpha": alpha, "include_background": background}
    loss = build_loss({"name": "hausdorff_dt", "log": log, **settings}, "softmax")
    kind = MonaiLogHausdorff if log else MonaiHausdorff
    peer = kind(softmax=True, to_onehot_y=True, **settings)
    expected = peer(logits.float(), label[:, None])
    torch.testing.assert_close(loss(logits.float(), label), expected, atol=2e-6, rtol=1e-5)


@SHAPES
@pytest.mark.parametrize("one_sided", [False, True])
def test_equals_scipy_at_any_spacing(shape, one_sided):
    logits, label = random_case(shape)
    probs, spacing = logits.softmax(1), (2.5, 0.8, 1.1)[: len(shape) - 1]
    values = []
    for b, c in ((b, c) for b in range(shape[0]) for c in (1, 2)):
        mask, p = label[b] == c, probs[b, c]
        field = scipy_field(mask, spacing) ** 2
        field = field + (0 if one_sided else scipy_field(p > 0.5, spacing) ** 2)
        values.append(((p - mask.double()) ** 2 * torch.from_numpy(field)).mean())
    loss = HausdorffDTLoss("softmax", spacing=spacing, one_sided=one_sided)
    torch.testing.assert_close(
        loss(logits, label), torch.stack(values).mean(), atol=1e-6, rtol=1e-5
    )


def test_an_empty_or_full_mask_has_the_field_zero():
    """Where scipy would measure to a point of its own making."""
    full = torch.ones(1, 1, 4, 5, dtype=torch.bool)
    for mask in (full, ~full):
        assert distance_field(mask, full).eq(0).all()
    probs = torch.full((1, 1, 4, 5), 0.4, dtype=torch.float64)  # p > 0.5 nowhere
    assert loss_of(hausdorff_dt_loss, probs, ~full) == 0
    probs[0, 0, 0, 0] = 0.9
    far = torch.tensor([[max(i * i + j * j, 1) for j in range(5)] for i in range(4)])
    want = ((probs[0, 0] ** 2) * far).mean().item()
    assert loss_of(hausdorff_dt_loss, probs, ~full) == pytest.approx(want)


def test_the_field_of_the_prediction_is_that_of_its_threshold():
    """Published code takes every p > 0 for foreground: then the field does not depend on p."""
    truth = torch.tensor([[[0, 0, 0, 1, 1, 0, 0, 0]]]).bool()
    soft = torch.tensor([[[0.01, 0.1, 0.4, 0.9, 0.8, 0.2, 0.3, 0.01]]], dtype=torch.float64)
    field = np.array([9, 4, 1, 1, 1, 1, 4, 9]) * 2
    want = ((soft - truth.double()).square().numpy() * field).mean()
    assert loss_of(hausdorff_dt_loss, soft, truth) == pytest.approx(want)


def test_never_across_the_batch_axis_and_per_image():
    logits, label = random_case((2, 9, 10))
    label[1] = 0
    loss = HausdorffDTLoss("softmax")
    each = torch.stack([loss(logits[b : b + 1], label[b : b + 1]) for b in range(2)])
    torch.testing.assert_close(loss(logits, label), each.mean())


def test_no_gradient_goes_through_distances():
    probs = R_PROBS.clone().requires_grad_()
    value = hausdorff_dt_loss(probs, R_TRUTH, R_TRUTH | True, KNOWN)
    (grad,) = torch.autograd.grad(value, probs)
    field = torch.tensor([4 + 4, 1 + 1, 1 + 1, 4 + 1, 1 + 1, 1 + 4])
    torch.testing.assert_close(grad, 2 * (R_PROBS - R_TRUTH.double()) * field / 6)
    assert torch.autograd.gradcheck(  # nowhere near 0.5, where the field jumps
        lambda p: hausdorff_dt_loss(p, R_TRUTH, R_TRUTH | True, KNOWN, alpha=1.0), (probs,)
    )


def test_distances_beyond_half_precision():
    """A distance of 300 squares to 90000, which half precision does not hold."""
    logits = torch.zeros(1, 2, 400)
    logits[:, 1], logits[:, 1, 0] = -1.0, 9.0
    label = torch.zeros(1, 400, dtype=torch.int16)
    label[0, 0] = 1
    loss = HausdorffDTLoss("softmax")
    with torch.autocast("cpu", torch.bfloat16):
        half = loss(logits.bfloat16(), label)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(logits, label))
    assert loss(logits.half(), label).item() == pytest.approx(loss(logits, label).item(), rel=1e-4)
    p = 1 / (1 + math.e)
    want = sum(2 * i * i for i in range(1, 400)) * p * p / 400
    assert loss(logits, label).item() == pytest.approx(want, rel=1e-5)


def test_ignored_voxels_are_background_to_the_distances_and_weigh_nothing():
    truth = torch.tensor([[[0, 0, 1, 1, 1, 0]]]).bool()
    valid = torch.tensor([[[1, 1, 1, 1, 0, 1]]]).bool()
    # d_p² (2,1,1,2,-,2)², d_g² (2,1,1,1,-,2)²: the ignored voxel parts the last from the object
    squares = [(4 + 4) * 0.01, 2 * 0.04, 2 * 0.04, 2 * 0.16, (4 + 4) * 0.01]
    got = loss_of(hausdorff_dt_loss, truth=truth, valid=valid)
    assert got == pytest.approx(sum(squares) / 5)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_a_field_made_ahead_gives_the_same(alpha):
    logits, label = random_case((2, 9, 10, 11), ignored=True)
    loss = HausdorffDTLoss("softmax", spacing=(2.0, 1.0, 0.7), alpha=alpha)
    field = loss.target_field(label, 3)
    before = field.clone()
    torch.testing.assert_close(loss(logits, label, field=field), loss(logits, label))
    assert loss(logits, label, field=field + 1) > loss(logits, label)  # it is used
    assert torch.equal(field, before)


def test_one_sided_with_a_field_takes_no_distance_transform(monkeypatch):
    from medseg.losses import distance_target

    logits, label = random_case((2, 9, 10))
    loss = HausdorffDTLoss("softmax", one_sided=True)
    field = loss.target_field(label, 3)
    monkeypatch.delattr(distance_target, "opposite_squared")
    assert loss(logits, label, field=field) > 0
    with pytest.raises(NameError):
        loss(logits, label)


def test_reduction_none_and_wrong_arguments():
    logits, label = random_case((2, 9, 10))
    probs, truth = logits.softmax(1), torch.stack([label == c for c in range(3)], 1)
    known = torch.ones(2, 3, dtype=torch.bool)
    each = hausdorff_dt_loss(probs, truth, truth | True, known, reduction="none")
    assert each.shape == (2, 3)
    torch.testing.assert_close(each.mean(), hausdorff_dt_loss(probs, truth, truth | True, known))
    with pytest.raises(ConfigError, match="alpha"):
        HausdorffDTLoss("softmax", alpha=0.0)
    with pytest.raises(ConfigError, match="2 spatial axes"):
        HausdorffDTLoss("softmax", spacing=(1.0,) * 3)(logits, label)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["hausdorff_dt", "boundary", "generalized_surface"])
def test_on_cuda_as_on_the_cpu_and_never_waiting_for_the_host(name):
    logits, label = random_case((2, 9, 10, 11), ignored=True)
    loss = build_loss({"name": name}, "softmax")
    on_device, there = logits.float().cuda().requires_grad_(), label.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        value = loss(on_device, there)
        value.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(value.cpu(), loss(logits.float(), label), atol=1e-5, rtol=1e-5)
