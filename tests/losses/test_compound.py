"""Sums of losses: worked values, schedules, names, balance."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss as MonaiDiceCE
from monai.losses import DiceFocalLoss as MonaiDiceFocal

from medseg.errors import ConfigError
from medseg.losses import build_loss, supervise
from tests.losses.worked import LABEL, LOGITS

R_LOGITS = torch.tensor([[[0.1, 0.2, 0.8, 0.6, 0.7, 0.1]]], dtype=torch.float64).logit()
R_LOGITS = torch.cat((torch.zeros_like(R_LOGITS), R_LOGITS), 1)  # softmax: background first
R_LABEL = torch.tensor([[0, 0, 1, 1, 0, 0]])
GDL = {"name": "generalized_dice", "smooth": 0.0, "include_background": True}


def value(settings, logits=LOGITS, label=LABEL, progress=0.0) -> float:
    loss = build_loss(settings, "softmax")
    loss.set_progress(progress)
    return loss(logits, label).item()


def test_dice_ce_worked_values():
    both = {"name": "dice", "include_background": True}
    assert value([both, {"name": "cross_entropy"}]) == pytest.approx(0.8640910252, abs=1e-6)
    assert value([{"name": "dice"}, {"name": "cross_entropy"}]) == pytest.approx(
        0.8993287931, abs=1e-6
    )
    assert value({"name": "dice_ce", "include_background": True}) == pytest.approx(
        0.8640910252, abs=1e-6
    )


def test_dice_focal_worked_values():
    arguments = {"name": "dice_focal", "include_background": True}
    assert value(arguments) == pytest.approx(0.4645654483, abs=1e-6)
    assert value({**arguments, "kind": "sigmoid"}) == pytest.approx(0.5123403402, abs=1e-6)
    terms = [
        {"name": "dice", "include_background": True},
        {"name": "focal", "gamma": 2.0, "kind": "sigmoid"},
    ]
    assert value(terms) == pytest.approx(0.5123403402, abs=1e-6)


@pytest.mark.parametrize("shape", [(6, 7), (4, 5, 3)])
def test_monai_agrees_on_random_images(shape):
    torch.manual_seed(1)
    logits, label = torch.randn(2, 3, *shape), torch.randint(0, 3, (2, *shape))
    common = {"to_onehot_y": True, "softmax": True, "smooth_nr": 1e-5, "smooth_dr": 1e-5}
    for name, peer in (
        ("dice_ce", MonaiDiceCE(**common)),
        ("dice_focal", MonaiDiceFocal(**common)),
    ):
        kind = {"kind": "sigmoid"} if name == "dice_focal" else {}
        mine = value({"name": name, "include_background": True, **kind}, logits, label)
        assert mine == pytest.approx(peer(logits, label[:, None]).item(), abs=1e-5)


def test_dice_topk_is_dice_plus_the_hardest_voxel():
    # of 4 voxels, 25 % is the one with p = .5
    hardest = -torch.tensor(0.5).log().item()
    arguments = {"include_background": True, "k": 25}
    expected = 0.3847603521 + hardest
    assert value({"name": "dice_topk", **arguments}) == pytest.approx(expected, abs=1e-6)
    weighted = {"name": "dice_topk", **arguments, "weight_dice": 0.0, "weight_topk": 2.0}
    assert value(weighted) == pytest.approx(2 * hardest, abs=1e-6)


def test_jaccard_plus_ce_is_the_sum_of_its_parts():
    parts = [{"name": "jaccard"}, {"name": "cross_entropy", "weight": 0.25}]
    alone = value({"name": "jaccard"}) + 0.25 * value({"name": "cross_entropy"})
    assert value(parts) == pytest.approx(alone, abs=1e-6)


def test_rebalance_and_increase_worked_values():
    rebalance = [
        {**GDL, "weight": "rebalance_region"},
        {"name": "boundary", "weight": "rebalance_boundary"},
    ]
    assert value(GDL, R_LOGITS, R_LABEL) == pytest.approx(0.3333333333, abs=1e-6)
    assert value({"name": "boundary"}, R_LOGITS, R_LABEL) == pytest.approx(-0.0166666667, abs=1e-6)
    at_start = value(rebalance, R_LOGITS, R_LABEL)
    at_three_quarters = value(rebalance, R_LOGITS, R_LABEL, progress=25 / 99)
    assert at_start == pytest.approx(0.3333333333, abs=1e-6)
    assert at_three_quarters == pytest.approx(0.2458333333, abs=1e-6)
    increase = [GDL, {"name": "boundary", "weight": "increase"}]
    assert value(increase, R_LOGITS, R_LABEL) == pytest.approx(0.3331666667, abs=1e-6)


def test_terms_are_named_and_logged_before_weighting():
    settings = [
        {"name": "dice", "weight": 0.5},
        {"name": "dice", "as": "dice_all", "include_background": True, "weight": 0},
        {"name": "dice_ce", "weight": {"start": 0.0, "end": 1.0}},
    ]
    loss = build_loss(settings, "softmax")
    total, terms = supervise(loss, LOGITS, (), LABEL)
    assert list(terms) == ["dice", "dice_all", "dice_ce"]
    assert terms["dice"].item() == pytest.approx(0.4199981200, abs=1e-6)
    assert terms["dice_all"].item() == pytest.approx(0.3847603521, abs=1e-6)
    assert terms["dice_ce"].item() == pytest.approx(0.8993287931, abs=1e-6)
    assert total.item() == pytest.approx(0.5 * 0.4199981200, abs=1e-6)
    loss.set_progress(1)
    assert loss(LOGITS, LABEL).item() == pytest.approx(0.5 * 0.41999812 + 0.8993287931, abs=1e-6)


def test_balance_gives_a_term_the_size_of_the_first_and_its_own_direction():
    logits = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    label = torch.randint(0, 3, (2, 6, 5), generator=torch.Generator().manual_seed(1))
    dice = value({"name": "dice"}, logits, label)
    terms = [{"name": "dice"}, {"name": "cross_entropy", "weight": 3, "auto_balance": True}]
    assert value(terms, logits, label) == pytest.approx(4 * dice, rel=1e-4)

    def gradient(settings):
        leaf = logits.clone().requires_grad_()
        build_loss(settings, "softmax")(leaf, label).backward()
        return leaf.grad

    share = 3 * dice / value({"name": "cross_entropy"}, logits, label)
    expected = gradient({"name": "dice"}) + share * gradient({"name": "cross_entropy"})
    torch.testing.assert_close(gradient(terms), expected, rtol=1e-3, atol=1e-7)


def test_balance_is_finite_where_a_term_is_zero():
    sure = torch.where(torch.stack([c == LABEL for c in range(3)], 1), 200.0, -200.0)
    leaf = sure.requires_grad_()
    terms = [{"name": "dice"}, {"name": "cross_entropy", "auto_balance": True}]
    build_loss(terms, "softmax")(leaf, LABEL).backward()
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], r"write a mapping, or a list"),
        ("dice", r"write a mapping, or a list"),
        (["dice"], r"train.loss\[0\] is 'dice'"),
        ([{"name": "dice"}, {"weight": 1}], r"train.loss\[1\] has no 'name'"),
        ([{"name": "dice"}, {"name": "focl"}], r"train.loss\[1\].*did you mean 'focal'"),
        ([{"name": "dice"}, {"name": "dice"}], "two terms are logged as 'dice'.*'as'"),
        ([{"name": "dice", "as": "a/b"}], "as is 'a/b'"),
        ([{"name": "dice", "as": "loss"}], "as is 'loss'"),
        ([{"name": "dice", "weight": "incraese"}], "did you mean 'increase'"),
        ([{"name": "dice", "auto_balance": 1}], "auto_balance is 1"),
        ([{"name": "dice", "auto_balance": True}], "balanced against"),
        ({"name": "dice", "weight": 2}, "for the terms of a list"),
        ({"name": "dice", "smooth": "much"}, "smooth is 'much'"),
        ({"name": "dice", "absent": "leave"}, "absent is 'leave'.*'keep'"),
        ({"name": "cldice", "weight_line": 2}, "weight_line is 2"),
        ({"name": "cldice", "itterations": 2}, "did you mean 'iterations'"),
    ],
)
def test_mistakes_are_explained(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_loss(settings, "softmax")
