"""What every loss promises; see `medseg.losses.base.Loss`."""

from __future__ import annotations

import pytest
import torch

from medseg.errors import ConfigError
from medseg.losses import LOSSES, build_loss

ALL = pytest.mark.parametrize("name", sorted(LOSSES))
KINDS = pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
REGIONS = {"softmax": (), "sigmoid": ((1, 2), (2,))}
BLIND_TO_THIN = ("hausdorff_er", "hausdorff_cv")
"""Losses that take no account of errors a voxel or two across."""


def make(name: str, activation: str, **arguments):
    return build_loss({"name": name, **arguments}, activation, REGIONS[activation])


def random_case(activation: str, shape=(2, 4, 5), seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    channels = 3 if activation == "softmax" else 2
    logits = torch.randn(shape[0], channels, *shape[1:], generator=generator)
    label = torch.randint(-1, 3, shape, generator=generator, dtype=torch.int16)
    return logits, label


@ALL
@KINDS
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("value", [0, 1, 2, -1])
def test_gradients_are_finite_at_saturated_logits(name, activation, sign, value):
    logits, label = random_case(activation)
    extreme = (100 * sign * logits.sign()).requires_grad_()
    loss = make(name, activation)(extreme, torch.full_like(label, value))
    loss.backward()
    assert loss.isfinite()
    assert extreme.grad.isfinite().all()
    if value == -1:
        assert loss == 0
        assert extreme.grad.abs().sum() == 0


@ALL
@KINDS
def test_ignored_voxels_do_not_count(name, activation):
    loss = make(name, activation)
    logits, label = random_case(activation)
    other = torch.where((label == -1).unsqueeze(1), logits + 7.0, logits)
    torch.testing.assert_close(loss(other, label), loss(logits, label))


@ALL
@KINDS
def test_the_order_of_voxels_and_of_cases_does_not_matter(name, activation):
    loss = make(name, activation)
    logits, label = random_case(activation)
    torch.testing.assert_close(loss(logits.flip(0), label.flip(0)), loss(logits, label))
    if name != "cc_dice":  # which of two equally near lesions gets a voxel depends on the order
        torch.testing.assert_close(loss(logits.flip(2), label.flip(1)), loss(logits, label))


@ALL
@KINDS
def test_a_slice_in_3d_is_the_image_in_2d(name, activation):
    loss = make(name, activation)
    logits, label = random_case(activation)
    torch.testing.assert_close(loss(logits[:, :, None], label[:, None]), loss(logits, label))


@ALL
@KINDS
def test_half_precision_and_autocast_are_near_float32(name, activation):
    loss = make(name, activation)
    logits, label = random_case(activation, (2, 32, 32))
    with torch.autocast("cpu", torch.bfloat16):
        near = loss(logits.bfloat16(), label)
    assert near.dtype == torch.float32
    # a voxel that rounding takes over p = 0.5 makes a distance to the prediction jump
    allowed = 3e-3 if name == "hausdorff_dt" else 1e-3
    assert near.item() == pytest.approx(loss(logits, label).item(), abs=allowed)


@ALL
@KINDS
def test_a_sure_and_right_prediction_costs_nothing(name, activation):
    _, label = random_case(activation)
    label = label.clamp(min=0)
    channels = (
        [label == c for c in range(3)] if activation == "softmax" else [label >= 1, label == 2]
    )
    logits = torch.stack([40.0 * (c.float() * 2 - 1) for c in channels], dim=1)
    loss = make(name, activation)
    if name == "boundary":  # the one whose least value is below 0
        assert loss(logits, label) < loss(0 * logits, label) < loss(-logits, label)
        return
    assert loss(logits, label).item() == pytest.approx(0, abs=1e-6)
    if name not in BLIND_TO_THIN:
        assert loss(-logits, label) > 0.25


@ALL
@KINDS
def test_annotating_all_is_the_same_as_not_saying_it(name, activation):
    loss = make(name, activation)
    logits, label = random_case(activation)
    annotated = torch.ones(2, 3, dtype=torch.bool)
    torch.testing.assert_close(loss(logits, label, annotated=annotated), loss(logits, label))


@ALL
def test_unannotated_class_is_counted_as_background(name):
    loss = make(name, "softmax")
    label = torch.tensor([[0, 0, 1, 1]])
    annotated = torch.tensor([[True, True, False]])
    logits = torch.tensor([[[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 2.0, 1.0], [2.0, 4.0, -1.0, 0.0]]])
    logits.requires_grad_()
    merged = torch.stack((logits[:, [0, 2]].logsumexp(1), logits[:, 1]), 1)
    expected = loss(merged, label)
    got = loss(logits, label, annotated=annotated)
    torch.testing.assert_close(got, expected)
    got.backward()
    assert logits.grad.isfinite().all()
    moved = logits.detach()[:, [2, 1, 0]]  # background and the unannotated class are one
    torch.testing.assert_close(loss(moved, label, annotated=annotated), expected)


@ALL
def test_a_region_with_an_unannotated_part_does_not_count(name):
    loss = make(name, "sigmoid")
    logits, label = random_case("sigmoid")
    logits.requires_grad_()
    annotated = torch.tensor([[True, True, False], [True, True, True]])
    loss(logits, label, annotated=annotated).backward()
    assert logits.grad[0].abs().sum() == 0  # both regions hold label 2
    if name not in BLIND_TO_THIN:
        assert logits.grad[1].abs().sum() > 0


@ALL
@KINDS
@pytest.mark.parametrize("value", [0, 2, -1])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 1, 1)])
def test_one_voxel_is_enough(name, activation, value, shape):
    channels = 3 if activation == "softmax" else 2
    for size in (1.0, -100.0, 100.0):
        logits = torch.full((1, channels, *shape[1:]), size)
        logits[:, 0] = -size
        logits.requires_grad_()
        loss = make(name, activation)(logits, torch.full(shape, value))
        loss.backward()
        assert loss.isfinite()
        assert logits.grad.isfinite().all()
        assert value != -1 or (loss == 0 and logits.grad.abs().sum() == 0)


def test_unknown_names_and_arguments_are_explained():
    with pytest.raises(ConfigError, match="did you mean 'dice_ce'"):
        build_loss({"name": "dice_cee"}, "softmax")
    with pytest.raises(ConfigError, match=r"dice_ce.*weight_dyce"):
        build_loss({"name": "dice_ce", "weight_dyce": 1}, "softmax")
    with pytest.raises(ConfigError, match="no 'name'"):
        build_loss({}, "softmax")
    with pytest.raises(ConfigError, match="regions"):
        build_loss({"name": "dice"}, "sigmoid")
