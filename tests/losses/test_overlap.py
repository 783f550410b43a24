from __future__ import annotations

import inspect

import pytest
import torch
from torch import distributed, multiprocessing

from medseg.errors import ConfigError
from medseg.losses import LOSSES, build_loss
from medseg.losses.build import settings_of
from medseg.losses.dice import dice_loss
from medseg.losses.overlap import STEEP, RegionSums, class_mean, region_sums, safe_power
from medseg.losses.region_loss import RegionLoss
from tests.losses.region_cases import A0, A_IGNORED, PAIR, A, random_regions
from tests.losses.worked import LABEL, LOGITS

REGIONS = sorted(
    name
    for name, build in LOSSES.items()
    if inspect.isclass(build) and issubclass(build, RegionLoss)
)
BATCHED = [name for name in REGIONS if "batch" in settings_of(LOSSES[name])]
WITH_BACKGROUND = [name for name in REGIONS if "include_background" in settings_of(LOSSES[name])]


def test_worked_sums():
    sums = region_sums(*A)
    assert sums.overlap[0].tolist() == pytest.approx((1.2, 0.7, 0.6))
    assert sums.predicted[0].tolist() == pytest.approx((1.5, 1.5, 1.0))
    assert sums.true[0].tolist() == [2, 1, 1]
    assert sums.fp[0].tolist() == pytest.approx((0.3, 0.8, 0.4))
    assert sums.fn[0].tolist() == pytest.approx((0.8, 0.3, 0.4))
    assert region_sums(*A_IGNORED).true[0].tolist() == [1, 1, 1]
    assert region_sums(*PAIR, batch=True).true.tolist() == [[4, 3, 1]]


def test_counts_are_exact_where_half_precision_is_not():
    truth = torch.ones(1, 1, 96, 96, 96, dtype=torch.bool)
    yes = torch.ones(1, 1, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        sums = region_sums(truth.float(), truth, truth, yes)
    assert sums.true.item() == sums.overlap.item() == 884736


def losses_and_sums():
    losses = torch.tensor([[0.2, 0.4, 0.9], [0.6, 0.1, 0.3]])
    true = torch.tensor([[5.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
    known = torch.tensor([[True, True, True], [True, True, False]])
    return losses, RegionSums(true, true, true, known)


def test_class_mean_by_hand():
    losses, sums = losses_and_sums()
    for absent, value in (
        ("keep", (1.5 / 3 + 0.7 / 2) / 2),
        ("skip", (0.6 / 2 + 0.6) / 2),
        ("zero", (0.6 / 3 + 0.6 / 2) / 2),
    ):
        assert class_mean(losses, sums, absent=absent).item() == pytest.approx(value)
    each = class_mean(losses, sums, absent="skip", reduction="none")
    assert each.flatten().tolist() == pytest.approx([0.2, 0.4, 0, 0.6, 0, 0])
    weights = torch.tensor([1.0, 2.0, 5.0])
    value = ((0.2 + 0.8 + 4.5) / 8 + (0.6 + 0.2) / 3) / 2
    assert class_mean(losses, sums, class_weights=weights).item() == pytest.approx(value)
    with pytest.raises(ConfigError, match="did you mean 'skip'"):
        class_mean(losses, sums, absent="skipp")


def test_class_mean_of_nothing_is_0():
    losses, sums = losses_and_sums()
    losses.requires_grad_()
    none = sums._replace(true=torch.zeros(2, 3))
    for value in (
        class_mean(losses, none, absent="skip"),
        class_mean(losses, none, absent="zero"),
        class_mean(losses, sums._replace(known=torch.zeros(2, 3, dtype=torch.bool))),
        class_mean(losses, sums, class_weights=torch.zeros(3)),
    ):
        assert value == 0
        (grad,) = torch.autograd.grad(value, losses)
        assert grad.abs().sum() == 0


def test_safe_power_is_the_power_and_finite_at_0():
    value = torch.tensor([0.0, STEEP / 2, STEEP, 1e-3, 1.0], dtype=torch.float64)
    value.requires_grad_()
    for exponent in (0.3, 0.75, 1.0, 2.0):
        got = safe_power(value, exponent)
        torch.testing.assert_close(got[2:], value[2:] ** exponent)
        assert got[0] == 0
        assert (got.diff() > 0).all()
        (grad,) = torch.autograd.grad(got.sum(), value)
        assert grad.isfinite().all()
    assert safe_power(torch.tensor(-1e-8), 0.3) == 0  # what rounding leaves of 1 - 1


@pytest.mark.parametrize("name", WITH_BACKGROUND)
def test_background_is_left_out_unless_asked_for(name):
    logits, label = LOGITS.float(), LABEL
    values = [
        build_loss({"name": name, "include_background": b}, "softmax")(logits, label)
        for b in (False, True)
    ]
    assert values[0] != values[1]
    default = build_loss({"name": name}, "softmax")(logits, label)
    torch.testing.assert_close(default, values[0])


@pytest.mark.parametrize("name", WITH_BACKGROUND)
def test_one_channel_is_never_taken_for_background(name):
    logits = torch.tensor([[[0.5, -0.5, 1.0]]])
    label = torch.tensor([[0, 1, 1]])
    values = [
        build_loss({"name": name, "include_background": b}, "sigmoid", ((1,),))(logits, label)
        for b in (False, True)
    ]
    assert values[0] == values[1] != 0


def test_class_weights_need_one_per_channel_and_follow_the_channels():
    loss = build_loss({"name": "dice", "class_weights": [9, 3, 1]}, "softmax")
    each = dice_loss(*A, reduction="none")[0]
    expected = (3 * each[1] + each[2]) / 4  # the background's weight goes with the background
    torch.testing.assert_close(loss(LOGITS, LABEL), expected)
    assert "class_weights" in dict(loss.named_buffers())
    assert not loss.state_dict()
    wrong = build_loss({"name": "dice", "class_weights": [1, 1]}, "softmax")
    with pytest.raises(ConfigError, match="2 class_weights for a network of 3"):
        wrong(LOGITS, LABEL)


@pytest.mark.parametrize("name", sorted({*BATCHED} - {"boundary_dou"}))  # minds neighbours
def test_batch_is_one_image_of_all_voxels(name):
    probs, truth, *_ = random_regions((2, 6, 8))
    label = truth.to(torch.uint8).argmax(1)
    batch = build_loss({"name": name, "batch": True}, "softmax")
    joined = torch.cat((probs[:1], probs[1:]), 2).log(), torch.cat((label[:1], label[1:]), 1)
    torch.testing.assert_close(batch(probs.log(), label), batch(*joined))
    apart = build_loss({"name": name, "batch": False}, "softmax")
    assert apart(probs.log(), label) != batch(probs.log(), label)


def _half(rank: int, folder: str) -> None:
    """One of two processes: the batch Dice of its own image, and its gradient."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    try:
        mine = [x[rank : rank + 1] for x in PAIR]
        probs = mine[0].clone().requires_grad_()
        loss = dice_loss(probs, *mine[1:], batch=True)
        loss.backward()
        torch.save((loss.detach(), probs.grad), f"{folder}/{rank}.pt")
    finally:
        distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_available(), reason="torch without distributed")
def test_batch_statistics_of_two_processes_equal_one(tmp_path):
    multiprocessing.start_processes(
        _half, args=(str(tmp_path),), nprocs=2, start_method="spawn", join=True
    )
    probs = PAIR[0].clone().requires_grad_()
    loss = dice_loss(probs, *PAIR[1:], batch=True)
    loss.backward()
    assert loss.item() == pytest.approx(0.5429781003, abs=1e-9)
    for rank in range(2):
        value, grad = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(value, loss.detach())
        # Each process's loss is the whole; averaging over processes, as training does, halves it.
        torch.testing.assert_close(grad / 2, probs.grad[rank : rank + 1])


def test_absent_class_is_the_same_for_int_and_bool_targets():
    probs, truth, valid, known = A0
    soft = truth.double()
    torch.testing.assert_close(
        dice_loss(probs, soft, valid, known, absent="skip"),
        dice_loss(probs, truth, valid, known, absent="skip"),
    )
