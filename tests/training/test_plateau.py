from __future__ import annotations

import math

import pytest

from medseg.errors import ConfigError
from medseg.training import clock, plateau, rounds
from medseg.training.launch import train
from medseg.training.schedule import Budget
from tests.training.made import Recorder, make_task


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("plateau", Budget(iterations=250_000, plateau=True)),
        ("plateau,2h", Budget(seconds=7200.0, plateau=True)),
        (" plateau , 500it ", Budget(iterations=500, plateau=True)),
    ],
)
def test_a_plateau_budget_has_a_bound(text, budget):
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["plateau,soon", "plateau 2h", "2h,plateau", "plateau,-1it"])
def test_what_is_no_bound_is_explained(text):
    with pytest.raises(ConfigError, match=r"train\.budget is "):
        Budget.parse(text)


def test_learning_rate_by_hand():
    assert plateau.lr_factor(0, 250, None) == pytest.approx(0.01)
    assert plateau.lr_factor(0.5, 250, None) == pytest.approx(0.5)
    assert plateau.lr_factor(100, 250, None) == 1
    assert plateau.lr_factor(100, 250, 100) == 1  # 100 cools down until 120
    assert plateau.lr_factor(105, 250, 100) == pytest.approx(0.5)  # 1 - sqrt(1 / 4)
    assert plateau.lr_factor(120, 250, 100) == 0
    assert plateau.end(250, 100) == pytest.approx(120)
    assert plateau.end(250, 230) == 250  # the bound holds


def test_a_cool_down_started_as_late_as_possible_ends_at_the_bound():
    start = plateau.cool_down_starts_by(600.0)
    assert start == pytest.approx(500)
    assert plateau.end(600.0, start) == pytest.approx(600)


def test_validations_come_at_equal_ratios():
    moments = [2 * plateau.GROWTH**k for k in range(20)]
    assert [plateau.validations_due(m, 500) for m in moments] == list(range(1, 21))
    assert plateau.validations_due(1.99, 500) == 0


def test_only_a_lasting_lack_of_rise_is_a_plateau():
    assert not plateau.has_stalled([])
    assert not plateau.has_stalled([0.8] * 4)  # nothing before them to compare with
    assert plateau.has_stalled([0.8] * 5)
    assert not plateau.has_stalled([0.8, 0.8, 0.8, 0.8, 0.8011])
    assert not plateau.has_stalled([0.8, 0.8011, 0.8, 0.8, 0.8])
    assert plateau.has_stalled([0.7, 0.8, math.nan, 0.8, 0.5, 0.8])
    assert not plateau.has_stalled([0.0] * 50)  # nothing learned is no plateau


def level_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every validation say the same."""
    same = {"left": 0.5, "right": 0.5, "mean": 0.5}
    monkeypatch.setattr(rounds, "mean_dice", lambda scores, scheme: dict(same))


def test_a_training_ends_where_validation_rises_no_more(tmp_path, monkeypatch):
    level_dice(monkeypatch)
    budget = Budget(iterations=500, plateau=True)
    task, monitor = make_task(tmp_path, budget=budget, ema="auto"), Recorder()
    state = train(task, monitor)
    assert state.cool_down_from is not None
    # 2 % of the bound are 10 steps; the next validation stops it, a fifth of that is cool-down
    assert 10 <= state.cool_down_from <= 13
    assert state.step == math.ceil(state.cool_down_from * 1.2)
    assert state.history[-1]["progress"] == 1
    assert state.history[-1]["train/lr"] == 0
    before = [row for row in state.history if row["step"] <= state.cool_down_from]
    assert all(row["train/lr"] == task.recipe.lr for row in before[1:])
    assert len(state.history) == len(before) + 1  # none while the rate falls
    assert monitor.used == pytest.approx(500)


def rising_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every validation be better than the one before."""
    rising = iter(range(1, 1000))

    def mean_dice(scores, scheme):
        value = next(rising) / 100
        return {"left": value, "right": value, "mean": value}

    monkeypatch.setattr(rounds, "mean_dice", mean_dice)


def test_a_training_that_goes_on_rising_ends_at_its_bound(tmp_path, monkeypatch):
    rising_dice(monkeypatch)
    state = train(make_task(tmp_path, budget=Budget(iterations=30, plateau=True)), Recorder())
    assert state.step == 30
    assert state.cool_down_from == 25
    assert [row["train/lr"] for row in state.history][-1] == 0


def test_logging_follows_the_bound(tmp_path, monkeypatch):
    rising_dice(monkeypatch)
    monkeypatch.setattr(clock, "PLATEAU_LOG_POINTS", 10)
    monitor = Recorder()
    train(make_task(tmp_path, budget=Budget(iterations=30, plateau=True)), monitor)
    assert len([m for _, m in monitor.metrics if "train/loss" in m]) == 10
