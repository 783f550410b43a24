from __future__ import annotations

import math

import pytest
import torch

from medseg.labels import IGNORE_INDEX
from medseg.losses import build_loss, supervise
from medseg.losses.edges import EDGE_WEIGHT, borders, edge_loss


def test_by_hand():
    label = torch.tensor([[[0, 0, 0, 1]]])  # two of four voxels are on the border
    scores = torch.tensor([[[[-1.0, 2.0, 0.5, 3.0]]]])
    wanted = 0.5 * sum(math.log1p(math.exp(v)) for v in (-1.0, 2.0, -0.5, -3.0)) / 4
    assert edge_loss(scores, label).item() == pytest.approx(wanted)


def test_rare_borders_weigh_as_much_as_the_rest():
    label = torch.zeros(1, 10, 10, dtype=torch.long)
    label[:, 9, 9] = 1  # three voxels of a hundred
    zero = torch.zeros(1, 1, 10, 10, requires_grad=True)
    edge_loss(zero, label).backward()
    edge = borders(label)[:, None]
    assert edge.sum() == 3
    torch.testing.assert_close(zero.grad[edge].sum(), -zero.grad[~edge].sum())


@pytest.mark.parametrize("ndim", [2, 3])
def test_both_sides_of_a_border_and_no_ignored_voxel(ndim):
    label = torch.zeros(1, *(4,) * ndim, dtype=torch.long)
    label[:, 2:] = 1
    along = borders(label)[(0, slice(None), *(0,) * (ndim - 1))]
    assert along.tolist() == [False, True, True, False]
    label[:, 2:] = IGNORE_INDEX
    assert not borders(label).any()
    scores = torch.randn(1, 1, *(4,) * ndim)
    assert edge_loss(scores, torch.full_like(label, IGNORE_INDEX)) == 0


def test_supervise_adds_edges_and_penalties():
    torch.manual_seed(0)
    loss, label = build_loss({"name": "cross_entropy"}, "softmax"), torch.randint(0, 3, (2, 6, 6))
    logits, scores = torch.randn(2, 3, 6, 6), torch.randn(2, 1, 6, 6)
    penalty = torch.tensor([0.25, 0.75]).view(2, 1, 1, 1)
    total, terms = supervise(
        loss, logits, (), label, extras={"edges": scores, "penalty_cut": penalty}
    )
    edges = edge_loss(scores, label)
    torch.testing.assert_close(total, loss(logits, label) + EDGE_WEIGHT * edges + 0.5)
    torch.testing.assert_close(terms["edges"], edges)
    assert terms["penalty_cut"].item() == 0.5
