from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from medseg.errors import ConfigError
from medseg.training.schedule import ONE_CYCLE_RISE, WARM_UP, Budget, lr_factor


@pytest.mark.parametrize(
    ("text", "seconds", "iterations"),
    [
        ("90s", 90, None),
        ("10min", 600, None),
        (" 1.5 h ", 5400, None),
        ("0.5sec", 0.5, None),
        ("50000it", None, 50000),
    ],
)
def test_budgets(text, seconds, iterations):
    assert Budget.parse(text) == Budget(seconds=seconds, iterations=iterations)


@pytest.mark.parametrize("text", ["", "10", "ten min", "10 days", "-5s", "0s", "2.5it", "1h30min"])
def test_what_is_no_budget_is_explained(text):
    with pytest.raises(ConfigError, match=r"x\.budget is "):
        Budget.parse(text, "x.budget")


def test_a_budget_counts_in_its_own_unit():
    time, steps = Budget.parse("2min"), Budget.parse("30it")
    assert (time.unit, time.total, time.used(7, 60.0)) == ("s", 120, 60.0)
    assert (steps.unit, steps.total, steps.used(7, 60.0)) == ("it", 30, 7)


def test_learning_rate_by_hand():
    assert lr_factor(0.0, "cosine") == pytest.approx(0.01)
    assert lr_factor(0.25, "cosine") == pytest.approx((2 + 2**0.5) / 4)
    assert lr_factor(1.0, "cosine") == 0
    assert lr_factor(0.5, "poly") == pytest.approx(0.5**0.9)
    assert lr_factor(1.0, "poly") == lr_factor(1.2, "poly") == 0
    half = WARM_UP / 2
    assert lr_factor(half, "poly") == pytest.approx(0.5 * (1 - half) ** 0.9)


@pytest.mark.parametrize("shape", ["cosine", "poly"])
def test_learning_rate_rises_once_and_falls_once(shape):
    values = [lr_factor(i / 500, shape) for i in range(501)]
    top = values.index(max(values))
    assert 0 < top < 0.05 * 500
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)


def test_a_budget_is_checked_without_torch():
    code = (
        "import sys; from medseg.stages.train import Train; Train(budget='10min');"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True).returncode == 0


def test_one_cycle_is_torchs():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    steps = 200
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=steps + 1, cycle_momentum=False
    )
    # torch peaks at step 0.3 (steps + 1) - 1 of steps, we at 0.3 of the budget: half a step apart
    for step in range(steps + 1):
        ours = lr_factor(step / steps, "one_cycle")
        assert ours == pytest.approx(schedule.get_last_lr()[0], abs=0.03)
        optimizer.step()
        schedule.step()
    assert lr_factor(0.0, "one_cycle") == pytest.approx(1 / 25)
    assert lr_factor(ONE_CYCLE_RISE, "one_cycle") == pytest.approx(1.0)
    assert lr_factor(1.0, "one_cycle") == pytest.approx(1 / 25e4)
