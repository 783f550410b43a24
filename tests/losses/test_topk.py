from __future__ import annotations

import math

import pytest
import torch

from medseg.errors import ConfigError
from medseg.losses import build_loss
from medseg.losses.cross_entropy import cross_entropy
from medseg.losses.topk import ohem_cross_entropy, ohem_mean, topk_cross_entropy, topk_mean
from tests.losses.worked import B_LABEL, B_LOGITS, LABEL, LAST_IGNORED, LOGITS

HARDEST, SECOND, EASIEST = -math.log(0.5), -math.log(0.6), -math.log(0.7)


def random_case(*spatial: int, classes: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, *spatial, generator=generator, dtype=torch.float64)
    return logits, torch.randint(-1, classes, (2, *spatial), generator=generator)


def test_worked_value_divides_by_the_voxels_kept():
    loss = topk_cross_entropy(LOGITS, LABEL, k=50)
    assert loss.item() == pytest.approx(0.6019864022, abs=1e-9)  # over N: 0.3009932011
    assert loss.item() == pytest.approx((HARDEST + SECOND) / 2)


def test_at_least_one_voxel_is_kept():
    loss = topk_cross_entropy(LOGITS, LABEL, k=10)  # int(4 * 10 / 100) = 0
    assert loss.item() == pytest.approx(HARDEST)


def test_the_number_kept_is_rounded_down():
    assert topk_cross_entropy(LOGITS, LABEL, k=74).item() == pytest.approx((HARDEST + SECOND) / 2)


def test_all_voxels_are_cross_entropy():
    logits, label = random_case(4, 5)
    mine = topk_cross_entropy(logits, label, k=100)
    torch.testing.assert_close(mine, cross_entropy(logits, label))


def test_ignored_voxels_are_no_part_of_the_ranking():
    kept = topk_cross_entropy(LOGITS, LAST_IGNORED, k=67)  # floor(3 * .67) = 2 of .7, .7, .6
    assert kept.item() == pytest.approx((SECOND + EASIEST) / 2)
    logits = torch.cat((LOGITS, LOGITS.new_zeros(1, 3, 2, 2)))  # 100 % of the valid ones
    label = torch.cat((LABEL, torch.full_like(LABEL, -1)))
    mean = topk_cross_entropy(logits, label, k=100)
    assert mean.item() == pytest.approx(0.4793306731, abs=1e-9)  # zeros counted: half of it


def test_a_loss_that_does_not_count_is_never_the_hardest():
    each, valid = torch.tensor([4.0, 1.0, 2.0, 9.0]), torch.tensor([True, True, True, False])
    assert topk_mean(each, valid, k=70).item() == 3  # 4 and 2
    assert ohem_mean(each, valid, threshold=0.99).item() == pytest.approx(7 / 3)


@pytest.mark.parametrize("spatial", [(6, 7), (4, 5, 3)])
@pytest.mark.parametrize("k", [5, 10, 33.3, 80])
def test_equals_a_full_sort_in_2d_and_3d(spatial, k):
    logits, label = random_case(*spatial)
    each = -logits.softmax(1).log().gather(1, label.clamp(min=0)[:, None])[:, 0][label >= 0]
    kept = max(1, int(len(each) * k / 100))
    expected = each.sort(descending=True).values[:kept].mean()
    torch.testing.assert_close(topk_cross_entropy(logits, label, k=k), expected)


def test_the_ranking_is_over_the_whole_batch():
    easy, hard = torch.tensor([[[9.0] * 4, [0.0] * 4]]), torch.tensor([[[-9.0] * 4, [0.0] * 4]])
    logits, label = torch.cat((easy, hard)), torch.zeros(2, 4, dtype=torch.long)
    whole = topk_cross_entropy(logits, label, k=50)
    torch.testing.assert_close(whole, cross_entropy(hard, label[:1]))


def test_only_the_kept_voxels_have_a_gradient():
    logits = LOGITS.clone().requires_grad_()
    topk_cross_entropy(logits, LABEL, k=50).backward()
    moved = logits.grad.abs().sum(1)[0] > 0
    assert moved.tolist() == [[False, False], [True, True]]


def test_without_reduction_the_others_are_zero():
    each = topk_cross_entropy(LOGITS, LABEL, k=50, reduction="none")
    torch.testing.assert_close(
        each, torch.tensor([[[0.0, 0.0], [SECOND, HARDEST]]], dtype=torch.float64)
    )
    nothing = topk_cross_entropy(LOGITS, torch.full_like(LABEL, -1), reduction="none")
    assert nothing.tolist() == [[[0, 0], [0, 0]]]


def test_nothing_to_count_is_zero_with_a_zero_gradient():
    for loss in (topk_cross_entropy, ohem_cross_entropy):
        logits = LOGITS.clone().requires_grad_()
        value = loss(logits, torch.full_like(LABEL, -1))
        value.backward()
        assert value == 0
        assert logits.grad.abs().sum() == 0


def test_zero_losses_can_be_kept():
    each = torch.zeros(4, requires_grad=True)
    assert topk_mean(each, torch.tensor([False, True, True, True]), k=100) == 0


def test_ohem_keeps_what_is_below_the_threshold():
    loss = ohem_cross_entropy(LOGITS, LABEL, threshold=0.65)
    assert loss.item() == pytest.approx(0.6019864022, abs=1e-9)  # p of .6 and .5
    loss = ohem_cross_entropy(LOGITS, LAST_IGNORED, threshold=0.65)
    assert loss.item() == pytest.approx(SECOND)


def test_ohem_keeps_some_even_if_all_are_sure():
    assert ohem_cross_entropy(LOGITS, LABEL, threshold=0.1).item() == pytest.approx(HARDEST)
    loss = ohem_cross_entropy(LOGITS, LABEL, threshold=0.1, min_kept=3)
    assert loss.item() == pytest.approx((HARDEST + SECOND + EASIEST) / 3)
    loss = ohem_cross_entropy(LOGITS, LAST_IGNORED, threshold=0.1, min_kept=99)
    assert loss.item() == pytest.approx(0.4080585039, abs=1e-9)  # no more than there are


def test_gradients_are_those_of_the_formula():
    logits, label = random_case(3, 4)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: topk_cross_entropy(x, label, k=40), (logits,))
    assert torch.autograd.gradcheck(lambda x: ohem_cross_entropy(x, label), (logits,))


def test_regions_are_ranked_together():
    loss = build_loss({"name": "topk", "k": 50}, "sigmoid", ((1,),))
    expected = -(math.log(0.6) + math.log(0.7)) / 2  # p of .6 for 1, of .3 for 0
    assert loss(B_LOGITS, B_LABEL).item() == pytest.approx(expected)
    loss = build_loss({"name": "ohem", "threshold": 0.65}, "sigmoid", ((1,),))
    assert loss(B_LOGITS, B_LABEL).item() == pytest.approx(-math.log(0.6))


def test_settings_out_of_range_are_refused():
    for settings in [
        {"name": "topk", "k": 0},
        {"name": "topk", "k": 101},
        {"name": "ohem", "threshold": 0.0},
        {"name": "ohem", "min_kept": 0},
    ]:
        with pytest.raises(ConfigError):
            build_loss(settings, "softmax")
