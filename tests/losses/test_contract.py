"""What holds for every loss of the table; a loss that differs says why in `EXCEPTIONS`."""

from __future__ import annotations

import pytest
import torch

from medseg.losses import LOSSES, build_loss

EXCEPTIONS: dict[str, dict[str, str]] = {
    "gradient": {
        "iou_balanced": "its weights follow the prediction and are constants to the gradient",
    },
    "descent": {
        "hausdorff_er": "errors that the erosion removes cost nothing",
        "hausdorff_cv": "errors near the boundary cost nothing",
    },
    "cut off": {
        "cldice": "an ignored voxel is background to the skeleton, beyond the image is nothing",
        "distance_penalised": "an ignored voxel is background to its distances",
        "hausdorff_dt": "an ignored voxel is background to its distances",
        "hausdorff_cv": "an ignored voxel is background to its balls",
    },
}
"""Test, loss, and why the test cannot hold for it."""

NAMES = sorted(LOSSES)
KINDS = ("softmax", "sigmoid")
REGIONS = {"softmax": (), "sigmoid": ((1, 2), (2,))}
SPATIAL = ((4, 5), (3, 4, 3))


def losses_of(test: str):
    """Parametrize over all losses but the exceptions of a test."""
    return pytest.mark.parametrize(
        "name", [name for name in NAMES if name not in EXCEPTIONS.get(test, {})]
    )


kinds = pytest.mark.parametrize("activation", KINDS)
sizes = pytest.mark.parametrize("size", SPATIAL, ids=["2d", "3d"])


def make(name, activation):
    return build_loss({"name": name}, activation, REGIONS[activation])


def case(activation, size, batch=2, seed=0, dtype=torch.float32, lowest=0):
    generator = torch.Generator().manual_seed(seed)
    channels = 3 if activation == "softmax" else 2
    logits = torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)
    label = torch.randint(lowest, 3, (batch, *size), generator=generator)
    return logits.to(dtype), label


def right(label, activation, scale):
    """Logits that say what the label says."""
    classes = activation == "softmax"
    masks = [label == c for c in range(3)] if classes else [label >= 1, label == 2]
    return scale * (2 * torch.stack(masks, 1).float() - 1)


def blobs():
    """One image with an object of either class."""
    label = torch.zeros(1, 12, 12, dtype=torch.long)
    label[:, 1:6, 1:6] = 1
    label[:, 4:11, 7:11] = 2
    return label


def targets(size):
    """Labels of every degenerate kind."""
    full = torch.zeros(2, *size, dtype=torch.long)
    mixed = torch.randint(-1, 3, full.shape, generator=torch.Generator().manual_seed(3))
    one = full.clone()
    one.view(2, -1)[:, 1] = 2
    return {
        "empty": full,
        "all class 1": full + 1,
        "all class 2": full + 2,
        "class 2 absent": mixed.clamp(0, 1),
        "one voxel": one,
        "with ignored": mixed,
        "all ignored": full - 1,
        "one image ignored": torch.cat((full[:1] - 1, mixed[1:])),
        "one voxel counts": torch.where(one == 2, one, -1),
    }


def test_every_exception_names_a_loss_and_a_reason():
    for losses in EXCEPTIONS.values():
        assert set(losses) <= set(NAMES)
        assert all(losses.values())


@kinds
@losses_of("gradient")
def test_gradient_is_that_of_the_value(name, activation):
    loss = make(name, activation)
    logits, label = case(activation, (3, 4), dtype=torch.float64, lowest=-1)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, label), (logits,), atol=1e-6)


@kinds
@sizes
@losses_of("degenerate")
def test_degenerate_targets_and_saturated_logits_are_finite(name, activation, size):
    loss = make(name, activation)
    for kind, label in targets(size).items():
        said = right(label, activation, 100.0)
        for scores in (said, -said, torch.zeros_like(said), 0.01 * said):
            logits = scores.clone().requires_grad_()
            value = loss(logits, label)
            value.backward()
            assert value.shape == (), kind
            assert value.isfinite(), kind
            assert logits.grad.isfinite().all(), kind
            ignored = (label == -1).unsqueeze(1).expand_as(logits)
            assert logits.grad[ignored].abs().sum() == 0, kind
            if kind == "all ignored":
                assert value == 0


@kinds
@pytest.mark.parametrize("size", [(1,), (1, 1), (1, 1, 1)])
@losses_of("one voxel")
def test_an_image_of_one_voxel(name, activation, size):
    loss = make(name, activation)
    for index in (-1, 0, 1, 2):
        label = torch.full((1, *size), index)
        logits = right(label, activation, 1.0).requires_grad_()
        value = loss(logits, label)
        value.backward()
        assert value.isfinite()
        assert logits.grad.isfinite().all()


@kinds
@pytest.mark.parametrize("axis", [1, 2, 3])
@losses_of("side of 1")
def test_a_side_of_1_makes_no_difference(name, activation, axis):
    loss = make(name, activation)
    logits, label = case(activation, (6, 7), lowest=-1)
    flat = loss(logits, label)
    torch.testing.assert_close(loss(logits.unsqueeze(axis + 1), label.unsqueeze(axis)), flat)


@kinds
@sizes
@losses_of("autocast")
def test_bf16_autocast_is_near_float32(name, activation, size):
    loss = make(name, activation)
    logits, label = case(activation, size)
    half = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        inside, given_half = loss(logits, label), loss(half, label)
    assert inside.dtype == given_half.dtype == torch.float32
    torch.testing.assert_close(inside, loss(logits, label))
    # What the network rounded is lost; the loss adds no rounding of its own.
    assert given_half.item() == pytest.approx(loss(half.float(), label).item(), abs=1e-5)


@kinds
@losses_of("float64")
def test_float64_stays(name, activation):
    loss = make(name, activation)
    logits, label = case(activation, (4, 5), dtype=torch.float64)
    value = loss(logits, label)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(loss(logits.float(), label).item(), abs=1e-5, rel=1e-5)


@kinds
@sizes
@losses_of("order")
def test_the_order_of_the_batch_does_not_matter(name, activation, size):
    loss = make(name, activation)
    logits, label = case(activation, size, batch=3, lowest=-1)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(loss(logits[order], label[order]), loss(logits, label))


@kinds
@sizes
@losses_of("optimum")
def test_nothing_is_better_than_the_truth(name, activation, size):
    loss = make(name, activation)
    for seed in range(3):
        logits, label = case(activation, size, seed=seed)
        truth = right(label, activation, 40.0)
        best = loss(truth, label) - 1e-6
        one_wrong = truth.clone()
        one_wrong[(0, slice(None), *(1,) * len(size))] *= -1
        softer = right(label, activation, 2.0)
        for other in (logits, -truth, one_wrong, softer, torch.zeros_like(truth)):
            assert loss(other, label) >= best


@kinds
@losses_of("descent")
def test_descent_reaches_the_truth(name, activation):
    loss = make(name, activation)
    label = blobs()
    logits = case(activation, label.shape[1:], batch=1)[0].requires_grad_()
    step = torch.optim.Adam([logits], lr=0.3)
    for _ in range(150):
        step.zero_grad()
        loss(logits, label).backward()
        step.step()
    agrees = (right(label, activation, 1.0) > 0) == (
        logits == logits.amax(1, keepdim=True) if activation == "softmax" else logits > 0
    )
    assert agrees.float().mean() > 0.97


@kinds
@losses_of("inputs")
def test_inputs_are_left_as_they_are(name, activation):
    logits, label = case(activation, (4, 5), lowest=-1)
    before = logits.clone(), label.clone()
    make(name, activation)(logits, label)
    assert torch.equal(logits, before[0])
    assert torch.equal(label, before[1])


@kinds
@losses_of("cut off")
def test_an_ignored_border_is_as_if_cut_off(name, activation):
    loss = make(name, activation)
    logits, label = case(activation, (5, 6))
    label[:, -1] = -1
    torch.testing.assert_close(loss(logits, label), loss(logits[:, :, :-1], label[:, :-1]))


@losses_of("one region")
def test_one_region_is_no_background(name):
    loss = build_loss({"name": name}, "sigmoid", ((1, 2),))
    logits = (-right(blobs(), "sigmoid", 1.0))[:, :1].requires_grad_()
    value = loss(logits, blobs())
    value.backward()
    assert value != 0
    assert logits.grad.abs().sum() > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@kinds
@sizes
@losses_of("gpu")
def test_cuda_equals_cpu(name, activation, size):
    loss = make(name, activation)
    logits, label = case(activation, size, lowest=-1)
    there = logits.cuda().requires_grad_()
    logits.requires_grad_()
    expected = loss(logits, label)
    expected.backward()
    value = loss.cuda()(there, label.cuda())
    value.backward()
    torch.testing.assert_close(value.cpu(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(there.grad.cpu(), logits.grad, atol=1e-5, rtol=1e-4)
