from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medseg.losses import Loss, build_loss, supervise
from medseg.losses.compound import Term, WeightedSum
from medseg.losses.deep_supervision import at_scale, scale_weights, shrink_label
from medseg.losses.weighting import Weight


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


class Spaced(Loss):
    """Tells the spacing it was used with."""

    takes_spacing = True

    def __init__(self, spacing):
        super().__init__("softmax")
        self.spacing = spacing
        self.seen = []

    def terms(self, logits, label, *, annotated=None):
        self.seen.append(self.spacing)
        if len(self.seen) == 4:
            raise RuntimeError
        return {"spaced": logits.mean()}


def test_coarse_scales_have_coarse_voxels():
    inner = Spaced((0.5, 3.0))
    loss = WeightedSum("softmax", parts=[Term(name="s", loss=inner, weight=Weight(start=1.0))])
    logits = [torch.zeros(1, 2, *size) for size in ((8, 8), (4, 8), (2, 4))]
    label = torch.zeros(1, 8, 8, dtype=torch.long)
    supervise(loss, logits[0], logits[1:], label)
    assert inner.seen == [(0.5, 3.0), (1.0, 3.0), (2.0, 6.0)]
    assert inner.spacing == (0.5, 3.0)
    with pytest.raises(RuntimeError), at_scale(loss, (2, 2)):
        loss(logits[0], label)
    assert inner.spacing == (0.5, 3.0)


def test_without_spacing_voxels_are_counted_at_every_scale():
    inner = Spaced(None)
    label = torch.zeros(1, 4, 4, dtype=torch.long)
    supervise(inner, torch.zeros(1, 2, 4, 4), (torch.zeros(1, 2, 2, 2),), label)
    assert inner.seen == [None, None]


def test_a_distance_in_mm_is_the_same_at_a_coarser_scale():
    torch.manual_seed(0)
    coarse, label = torch.randn(1, 2, 4, 4), torch.randint(0, 2, (1, 4, 4))
    fine = label.repeat_interleave(2, 1).repeat_interleave(2, 2)
    loss = build_loss({"name": "boundary"}, "softmax", spacing=(1.0, 1.5))
    total, _ = supervise(loss, torch.zeros(1, 2, 8, 8), (coarse,), fine)
    first = loss(torch.zeros(1, 2, 8, 8), fine)
    wide = build_loss({"name": "boundary"}, "softmax", spacing=(2.0, 3.0))
    torch.testing.assert_close(total, 2 / 3 * first + 1 / 3 * wide(coarse, label))
