"""The regulariser between segmentation and edges."""

from __future__ import annotations

import math

import pytest
import torch

from medseg.labels import IGNORE_INDEX
from medseg.losses import build_loss, supervise
from medseg.losses.dual_task import DUAL_WEIGHT, border_length, dual_task_loss

CROSS_ENTROPY = build_loss({"name": "cross_entropy"}, "softmax")


def halves(ndim: int = 2) -> torch.Tensor:
    label = torch.zeros(1, *(6,) * ndim, dtype=torch.long)
    label[:, 3:] = 1
    return label


def certain(label: torch.Tensor, size: float = 50.0) -> torch.Tensor:
    return size * torch.stack((1 - label, label), 1).float()


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_length_of_a_border_by_hand(ndim):
    share = halves(ndim)[:, None].float()  # smoothed: 0 0 1/3 2/3 1 1
    along = border_length(share)[(0, 0, slice(None), *(0,) * (ndim - 1))]
    wanted = torch.tensor([0, 1 / 6, 1 / 3, 1 / 3, 1 / 6, 0]) / math.sqrt(2)
    torch.testing.assert_close(along, wanted, atol=1e-5, rtol=1e-4)


def test_the_truth_costs_nothing_and_a_moved_border_something():
    torch.manual_seed(0)
    label, none = halves(), torch.full((1, 1, 6, 6), -9.0)
    assert dual_task_loss(CROSS_ENTROPY, certain(label), none, label) < 1e-3
    moved = certain(label.roll(1, 1))
    assert dual_task_loss(CROSS_ENTROPY, moved, none, label) > 0.05


def test_classes_count_where_an_edge_is_certain():
    label = torch.zeros(1, 4, 4, dtype=torch.long)
    logits = torch.stack((torch.zeros(1, 4, 4), torch.full((1, 4, 4), -60.0)), 1)
    scores = torch.full((1, 1, 4, 4), -9.0)
    scores[0, 0, 0, 0], scores[0, 0, 0, 1] = 2.0, 1.0  # a sigmoid of 0.88, and of 0.73
    logits[0, 1, 0, :2] = 60.0  # both wrong: a cross entropy of 60
    only = dual_task_loss(CROSS_ENTROPY, logits, scores, label)
    without = dual_task_loss(CROSS_ENTROPY, logits, scores.clamp(max=1.0), label)
    assert (only - without).item() == pytest.approx(60.0, abs=1e-3)
    ignored = torch.full_like(label, IGNORE_INDEX)
    assert dual_task_loss(CROSS_ENTROPY, logits, scores, ignored) == 0


def test_regions_and_gradients():
    torch.manual_seed(0)
    loss = build_loss({"name": "cross_entropy"}, "sigmoid", regions=((1,),))
    logits = torch.randn(1, 1, 6, 6, requires_grad=True)
    value = dual_task_loss(loss, logits, torch.full((1, 1, 6, 6), 3.0), halves())
    value.backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0


def test_supervise_adds_it():
    label, scores = halves(), torch.randn(1, 1, 6, 6)
    logits = certain(label, 2.0)
    torch.manual_seed(3)
    total, terms = supervise(CROSS_ENTROPY, logits, (), label, extras={"dual_edges": scores})
    torch.manual_seed(3)
    wanted = dual_task_loss(CROSS_ENTROPY, logits, scores, label)
    torch.testing.assert_close(terms["dual_task"], wanted)
    torch.testing.assert_close(total, CROSS_ENTROPY(logits, label) + DUAL_WEIGHT * wanted)
