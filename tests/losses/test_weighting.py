from __future__ import annotations

import pytest

from medseg.errors import ConfigError
from medseg.losses.weighting import WEIGHTS, Weight, read_weight


def test_a_number_stays():
    assert [read_weight(0.3).at(p) for p in (0, 0.5, 1)] == [0.3, 0.3, 0.3]
    assert read_weight({"start": 2, "end": 9, "shape": "constant"}).at(1) == 2


@pytest.mark.parametrize(
    ("progress", "linear", "cosine"),
    [(0, 1, 1), (0.2, 1, 1), (0.4, 0.75, 0.8535533906), (0.6, 0.5, 0.5), (1, 0, 0)],
)
def test_it_moves_between_two_shares_of_the_budget(progress, linear, cosine):
    fields = {"start": 1, "end": 0, "from": 0.2}
    assert read_weight(fields).at(progress) == pytest.approx(linear)
    assert read_weight({**fields, "shape": "cosine"}).at(progress) == pytest.approx(cosine)
    early = read_weight({**fields, "until": 0.4})
    assert early.at(0.3) == pytest.approx(0.5)
    assert early.at(0.7) == 0


def test_ready_made_schedules():
    region, boundary = WEIGHTS["rebalance_region"], WEIGHTS["rebalance_boundary"]
    for progress in (0, 0.3, 1):
        assert region.at(progress) + boundary.at(progress) == pytest.approx(1)
    assert (region.at(0), region.at(1)) == pytest.approx((1, 0.01))
    increase = read_weight("increase")
    assert (increase.at(0), increase.at(1)) == pytest.approx((0.01, 1))
    # the paper's step of .01 per epoch, over a budget of 99 epochs
    assert region.at(25 / 99) == pytest.approx(0.75)
    assert increase.at(25 / 99) == pytest.approx(0.26)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("increse", "did you mean 'increase'"),
        ([1, 2], "write a number"),
        (True, "write a number"),
        ({"strat": 1}, "did you mean 'start'"),
        ({"end": 1}, "'start' is missing"),
        ({"start": "x"}, "start is 'x'; it must be a number"),
        ({"start": 1, "shape": "liner"}, "did you mean 'linear'"),
        ({"start": 1, "end": -1}, "end is -1"),
        (-0.5, "start is -0.5"),
        (float("nan"), "start is nan"),
        ({"start": 1, "end": 0, "from": 0.5, "until": 0.5}, "0 <= from < until <= 1"),
        ({"start": 1, "end": 0, "until": 2}, "0 <= from < until <= 1"),
    ],
)
def test_mistakes_are_explained(wrong, message):
    with pytest.raises(ConfigError, match=message):
        read_weight(wrong)


def test_a_weight_holds_no_state():
    weight = Weight(start=0, end=1)
    forth = [weight.at(p / 10) for p in range(11)]
    back = [weight.at(p / 10) for p in reversed(range(11))]
    assert forth == back[::-1]
