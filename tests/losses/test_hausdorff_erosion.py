from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.errors import ConfigError
from medseg.losses.hausdorff_erosion import HausdorffERLoss, hausdorff_er_loss
from tests.losses.distances import loss_of, random_case


def square(side: int = 5, around: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Return probs that are 1 on a square, and an empty truth."""
    probs = torch.zeros(1, 1, around, around, dtype=torch.float64)
    first = (around - side) // 2
    probs[:, :, first : first + side, first : first + side] = 1
    return probs, torch.zeros_like(probs, dtype=torch.bool)


def reference(error: np.ndarray, alpha: float = 2.0, erosions: int = 10) -> float:
    """Erode one image with scipy."""
    kernel = ndimage.generate_binary_structure(error.ndim, 1).astype(float)
    total = np.zeros_like(error)
    for k in range(1, erosions + 1):
        error = ndimage.convolve(error, kernel / kernel.sum(), mode="constant") - 0.5
        error = np.maximum(error, 0)
        if np.ptp(error) > 0:
            error = (error - error.min()) / np.ptp(error)
        total += error * k**alpha
    return float(total.mean())


def test_worked_value():
    assert loss_of(hausdorff_er_loss, *square()) == pytest.approx(1.0877897252, abs=1e-9)


def test_an_error_all_over_the_image_by_hand():
    """Eroded once: centre .5, edges .3, corners .1, which is stretched to 1, .5 and 0."""
    probs, truth = square(3, 3)
    assert loss_of(hausdorff_er_loss, probs, truth, erosions=1) == pytest.approx((1 + 4 * 0.5) / 9)


@pytest.mark.parametrize("shape", [(3, 13, 17), (2, 9, 10, 11)])
def test_equals_scipy(shape):
    """In 3-D with all 6 neighbours; published code erodes slice by slice there."""
    logits, label = random_case(shape)
    probs = logits.softmax(1)
    values = [
        reference(((probs[b, c] - (label[b] == c).double()) ** 2).numpy())
        for b in range(shape[0])
        for c in (1, 2)
    ]
    loss = HausdorffERLoss("softmax")(logits, label)
    assert loss.item() == pytest.approx(np.mean(values), rel=1e-6)


def test_a_thick_error_costs_more_than_as_many_scattered_voxels():
    probs, truth = square()
    scattered = probs.flatten()[torch.randperm(81, generator=torch.manual_seed(0))]
    thick = loss_of(hausdorff_er_loss, probs, truth)
    assert thick > 2 * loss_of(hausdorff_er_loss, scattered.reshape(1, 1, 9, 9), truth)


def test_gradients_reach_the_logits():
    """Published code returns a constant."""
    logits, label = random_case((2, 9, 10))
    logits.requires_grad_()
    HausdorffERLoss("softmax")(logits, label).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0


def test_no_error_and_ignored_error_cost_nothing():
    probs, truth = square()
    assert loss_of(hausdorff_er_loss, probs, probs > 0) == 0
    assert loss_of(hausdorff_er_loss, probs, truth, valid=probs == 0) == 0
    few = loss_of(hausdorff_er_loss, probs[:, :, 2:7, 2:7], truth[:, :, 2:7, 2:7])
    valid = torch.zeros_like(truth)
    valid[:, :, 2:7, 2:7] = True
    assert loss_of(hausdorff_er_loss, probs, truth, valid=valid) == pytest.approx(few)


def test_each_image_is_stretched_by_itself():
    logits, label = random_case((2, 9, 10))
    loss = HausdorffERLoss("softmax")
    each = torch.stack([loss(logits[b : b + 1], label[b : b + 1]) for b in range(2)])
    torch.testing.assert_close(loss(logits, label), each.mean())
    with pytest.raises(ConfigError, match="erosions"):
        HausdorffERLoss("softmax", erosions=0)


@pytest.mark.parametrize("shape", [(15, 15), (11, 11, 11)])
def test_a_missed_object_is_pulled_in_and_an_invented_one_pushed_out(shape):
    inner = (slice(None), slice(None), *(slice(3, -3),) * len(shape))
    truth = torch.zeros(1, 1, *shape, dtype=torch.bool)
    truth[inner] = True
    yes = torch.ones(1, 1, dtype=torch.bool)
    for target, start, sign in ((truth, 0.05, -1), (~truth & False, 0.95, 1)):
        probs = torch.full(truth.shape, 0.05)
        probs[inner] = start
        probs.requires_grad_()
        hausdorff_er_loss(probs, target, torch.ones_like(truth), yes).backward()
        assert (sign * probs.grad[inner] >= 0).all()
        assert probs.grad[inner].abs().max() > 0
