from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.errors import ConfigError
from medseg.losses.hausdorff_convolution import HausdorffCVLoss, ball_kernel, hausdorff_cv_loss
from tests.losses.distances import loss_of, random_case


def reference(p: np.ndarray, g: np.ndarray, radii, spacing) -> float:
    """Take the mean over balls with scipy's direct convolution."""
    total = np.zeros_like(p)
    for radius in radii:
        halves = [int(radius // size) for size in spacing]
        grid = np.meshgrid(*(np.arange(-h, h + 1) for h in halves), indexing="ij")
        ball = sum((x * size) ** 2 for x, size in zip(grid, spacing, strict=True)) <= radius**2

        def deep(value, ball=ball):
            mean = ndimage.convolve(value, ball / ball.sum(), mode="constant")
            return np.maximum(mean - 0.5, 0)

        error = (p - g) ** 2
        total += radius**2 * error * (p * (deep(1 - g) + deep(p)) + g * (deep(1 - p) + deep(g)))
    return float(total.mean())


@pytest.mark.parametrize("shape", [(3, 13, 17), (2, 9, 10, 11)])
def test_equals_scipy(shape):
    logits, label = random_case(shape)
    probs, spacing, radii = logits.softmax(1), (2.0, 0.8, 1.1)[: len(shape) - 1], (2.0, 3.5)
    values = [
        reference(probs[b, c].numpy(), (label[b] == c).double().numpy(), radii, spacing)
        for b in range(shape[0])
        for c in (1, 2)
    ]
    loss = HausdorffCVLoss("softmax", spacing=spacing, radii=radii)(logits, label)
    assert loss.item() == pytest.approx(np.mean(values), rel=1e-6)
    assert loss > 0


def test_one_false_voxel_by_hand():
    """A row of 7 with one false voxel in the middle, radius 1: only 'far from the truth' counts."""
    probs = torch.zeros(1, 1, 7, dtype=torch.float64)
    probs[..., 3] = 1
    truth = torch.zeros(1, 1, 7, dtype=torch.bool)
    # B(1 - g) = 1 there, so 0.5; B p = 1/3, so 0
    assert loss_of(hausdorff_cv_loss, probs, truth, radii=(1.0,)) == pytest.approx(0.5 / 7)
    assert loss_of(hausdorff_cv_loss, probs, truth, radii=(1.0,), alpha=0.0) == pytest.approx(
        0.5 / 7
    )
    truth[..., 2] = True  # B(1 - g) = 2/3, so 1/6; the missed voxel likewise
    got = loss_of(hausdorff_cv_loss, probs, truth, radii=(1.0,))
    assert got == pytest.approx(2 / 6 / 7)


def test_a_false_piece_costs_more_far_from_the_truth():
    truth = torch.zeros(1, 1, 24, 24, dtype=torch.bool)
    truth[..., 2:8, 2:8] = True
    losses = []
    for shift in (8, 16):
        probs = truth.double()
        probs[..., shift : shift + 2, 2:8] = 1
        losses.append(loss_of(hausdorff_cv_loss, probs, truth))
    assert losses[1] > losses[0]


def test_ball_in_mm():
    flat = ball_kernel(2.0, (1.0, 2.0), torch.zeros(1, 1, 9, 9))
    assert flat.shape == (5, 3)
    assert (flat > 0).int().tolist() == [[0, 1, 0], [0, 1, 0], [1, 1, 1], [0, 1, 0], [0, 1, 0]]
    assert ball_kernel(2.0, (1.0, 1.0), torch.zeros(1, 1, 1, 9)).shape == (1, 5)


def test_gradients_ignored_voxels_and_wrong_radii():
    truth = torch.zeros(1, 1, 5, 6, dtype=torch.bool)
    truth[..., :2] = True
    probs = torch.rand(1, 1, 5, 6, dtype=torch.float64, generator=torch.manual_seed(0))
    known = torch.ones(1, 1, dtype=torch.bool)
    valid = torch.ones_like(truth)
    valid[..., 3:] = False
    assert torch.autograd.gradcheck(
        lambda p: hausdorff_cv_loss(p, truth, valid, known, radii=(1.0, 2.0)),
        (probs.requires_grad_(),),
    )
    other = torch.where(valid, probs, 1 - probs)
    assert loss_of(hausdorff_cv_loss, other, truth, valid=valid) == pytest.approx(
        loss_of(hausdorff_cv_loss, probs, truth, valid=valid)
    )
    with pytest.raises(ConfigError, match="radii"):
        HausdorffCVLoss("softmax", radii=(3.0, 0.0))
