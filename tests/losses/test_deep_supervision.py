from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medseg.losses import build_loss, supervise
from medseg.losses.deep_supervision import scale_weights, shrink_label


def test_weights_halve_and_sum_to_one():
    assert scale_weights(1) == (1.0,)
    assert scale_weights(3) == pytest.approx((4 / 7, 2 / 7, 1 / 7))


def test_label_is_taken_from_the_first_of_each_pair():
    label = torch.tensor([[[0, 1, 2, 3], [4, 5, 6, 7]]])
    assert shrink_label(label, (1, 2)).tolist() == [[[0, 2]]]
    assert shrink_label(label, (2, 4)) is label


@pytest.mark.parametrize("size", [(8, 12), (8, 4, 6)])
def test_shrinking_equals_torch_nearest(size):
    label = torch.randint(-1, 5, (2, *size))
    small = tuple(n // 2 for n in size)
    expected = functional.interpolate(label[:, None].float(), small, mode="nearest")
    assert torch.equal(shrink_label(label, small), expected[:, 0].long())


def test_sum_over_scales_by_hand():
    torch.manual_seed(0)
    loss = build_loss({"name": "dice_ce"}, "softmax")
    logits, coarse = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 4, 4)
    label = torch.randint(0, 3, (1, 8, 8))
    total, terms = supervise(loss, logits, (coarse,), label)
    expected = 2 / 3 * loss(logits, label) + 1 / 3 * loss(coarse, label[:, ::2, ::2])
    torch.testing.assert_close(total, expected)
    assert terms["ce"].item() == pytest.approx(functional.cross_entropy(logits, label).item())
    alone, _ = supervise(loss, logits, (), label)
    torch.testing.assert_close(alone, loss(logits, label))
