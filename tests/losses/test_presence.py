from __future__ import annotations

import math

import pytest
import torch

from medseg.labels import IGNORE_INDEX
from medseg.losses import build_loss, supervise
from medseg.losses.presence import PRESENCE_WEIGHT, presence_loss


def softmax_loss():
    return build_loss({"name": "cross_entropy"}, "softmax")


@pytest.mark.parametrize("ndim", [2, 3])
def test_by_hand(ndim):
    label = torch.zeros(1, *(4,) * ndim, dtype=torch.long)
    label[(0, *(3,) * ndim)] = 2  # classes 0 and 2 occur, 1 does not
    scores = torch.tensor([[2.0, -1.0, 0.5]]).reshape(1, 3, *(1,) * ndim)
    wanted = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log1p(math.exp(-0.5))) / 3
    assert presence_loss(softmax_loss(), scores, label).item() == pytest.approx(wanted)


def test_each_cell_of_a_grid_is_asked_for_itself():
    label = torch.tensor([[[0, 0, 1, 1]]])
    scores = torch.full((1, 2, 1, 2), -20.0)
    scores[0, 0, 0, 0] = scores[0, 1, 0, 1] = 20.0
    assert presence_loss(softmax_loss(), scores, label) < 1e-6
    assert presence_loss(softmax_loss(), -scores, label) > 10


def test_ignored_voxels_and_unannotated_classes_say_nothing():
    label = torch.tensor([[[0, 0], [IGNORE_INDEX, IGNORE_INDEX]]])
    scores = torch.tensor([[20.0, -20.0]]).reshape(1, 2, 1, 1)
    assert presence_loss(softmax_loss(), scores, label) < 1e-6
    annotated = torch.tensor([[True, False]])
    wrong = torch.tensor([[20.0, 20.0]]).reshape(1, 2, 1, 1)
    assert presence_loss(softmax_loss(), wrong, label, annotated=annotated) < 1e-6
    nothing = torch.full_like(label, IGNORE_INDEX)
    assert presence_loss(softmax_loss(), wrong, nothing).item() == 0


def test_supervise_adds_it_with_its_weight_and_weighs_auxiliary_logits_as_told():
    torch.manual_seed(0)
    loss, label = softmax_loss(), torch.randint(0, 3, (2, 8, 8))
    logits, coarse = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 4, 4)
    scores = torch.randn(2, 3, 1, 1)
    total, terms = supervise(
        loss, logits, (coarse,), label, aux_weights=(0.4,), extras={"presence": scores}
    )
    presence = presence_loss(loss, scores, label)
    expected = loss(logits, label) + 0.4 * loss(coarse, label[:, ::2, ::2])
    torch.testing.assert_close(total, expected + PRESENCE_WEIGHT * presence)
    torch.testing.assert_close(terms["presence"], presence)
