from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medseg.losses.iou_balanced import IoUBalancedLoss, balance
from tests.losses.worked import B_LABEL, B_LOGITS, LABEL, LAST_IGNORED, LOGITS


def test_worked_values():
    losses = torch.tensor([0.2, 0.6], dtype=torch.float64)
    got = balance(losses, torch.tensor([0.8, 0.4], dtype=torch.float64), eta=1.5)
    assert got.tolist() == pytest.approx((0.3882251, 0.4117749), abs=1e-7)
    assert (got / losses).tolist() == pytest.approx((1.9411255, 0.6862915), abs=1e-7)
    assert got.mean().item() == pytest.approx(0.4)


def test_weights_are_1_where_every_iou_is_0_or_eta_is():
    losses = torch.tensor([0.2, 0.6])
    torch.testing.assert_close(balance(losses, torch.zeros(2)), losses)
    torch.testing.assert_close(balance(losses, torch.tensor([0.8, 0.4]), eta=0.0), losses)
    assert torch.equal(balance(losses * 0, torch.tensor([0.8, 0.4])), losses * 0)


def test_weights_stay_finite_when_only_a_perfect_class_has_an_iou():
    losses, iou = torch.tensor([100.0, 3e-44]), torch.tensor([3e-44, 1.0])
    got = balance(losses, iou)
    assert got.isfinite().all()
    assert got.sum().item() == pytest.approx(100)


def test_the_weights_are_constants_to_the_gradient():
    losses = torch.tensor([0.2, 0.6], dtype=torch.float64, requires_grad=True)
    balance(losses, losses + 0.1).sum().backward()
    raw = (losses.detach() + 0.1) ** 1.5
    weights = raw * 0.8 / (raw * losses.detach()).sum()
    torch.testing.assert_close(losses.grad, weights)


@pytest.mark.parametrize("iou", ["soft", "hard"])
@pytest.mark.parametrize("size", [(6, 7), (3, 4, 5)])
def test_the_value_is_the_cross_entropy(iou, size):
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, *size), torch.randint(-1, 3, (2, *size))
    expected = functional.cross_entropy(logits, label, ignore_index=-1)
    torch.testing.assert_close(IoUBalancedLoss("softmax", iou=iou)(logits, label), expected)
    regions = ((1, 2), (2,))
    truth = torch.stack((label >= 1, label == 2), 1).float()
    counts = (label >= 0).unsqueeze(1).expand_as(truth)
    expected = functional.binary_cross_entropy_with_logits(logits[:, :2][counts], truth[counts])
    got = IoUBalancedLoss("sigmoid", regions, iou=iou)(logits[:, :2], label)
    torch.testing.assert_close(got, expected)


def test_worked_cross_entropies():
    loss = IoUBalancedLoss("softmax")
    assert loss(LOGITS, LABEL).item() == pytest.approx(0.4793306731, abs=1e-9)
    assert loss(LOGITS, LAST_IGNORED).item() == pytest.approx(0.4080585039, abs=1e-9)
    regions = IoUBalancedLoss("sigmoid", ((1,),))(B_LOGITS, B_LABEL)
    p, y = B_LOGITS.sigmoid(), B_LABEL.double()[:, None]
    assert regions.item() == pytest.approx(functional.binary_cross_entropy(p, y).item())


def test_a_well_localised_class_has_the_larger_share_of_the_gradient():
    # Two classes with the same losses on their own voxels; the second is invented elsewhere too.
    logits = torch.tensor([[[3.0, 3.0, 0.0, 0.0], [0.0, 0.0, 3.0, 3.0], [0.0, 4.0, 0.0, 4.0]]])
    label = torch.tensor([[0, 2, 1, 2]])
    grads = {}
    for eta in (0.0, 3.0):
        leaf = logits.clone().requires_grad_()
        IoUBalancedLoss("softmax", eta=eta)(leaf, label).backward()
        grads[eta] = leaf.grad.abs().sum(1)[0]
    share = {eta: grad / grad.sum() for eta, grad in grads.items()}
    iou_order = share[3.0] / share[0.0]
    probs = logits.softmax(1)[0]
    truth = torch.stack([label[0] == c for c in range(3)])
    iou = (probs * truth).sum(1) / (probs.sum(1) + truth.sum(1) - (probs * truth).sum(1))
    best, worst = iou.argmax(), iou.argmin()
    assert iou_order[label[0] == best].min() > iou_order[label[0] == worst].max()
