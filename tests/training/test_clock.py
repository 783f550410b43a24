from __future__ import annotations

from types import SimpleNamespace

import pytest

from medseg.training import clock as module
from medseg.training.clock import Clock
from medseg.training.schedule import Budget
from medseg.training.state import State
from tests.training.made import Recorder, make_task


@pytest.fixture
def now(monkeypatch):
    time = SimpleNamespace(value=1000.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: time.value)
    return time


ALONE = SimpleNamespace(world_size=1)


def test_a_resumed_clock_goes_on_from_the_time_used(tmp_path, now):
    state = State(step=5, seconds=40.0, longest_validation=1e-9)
    clock = Clock(ALONE, make_task(tmp_path, budget=Budget(seconds=100.0)), state)
    now.value += 10
    assert clock.progress() == pytest.approx(0.5)
    assert state.seconds == 50


def test_time_for_the_last_validation_is_kept_back(tmp_path, now):
    state = State(longest_validation=10.0)
    clock = Clock(ALONE, make_task(tmp_path, budget=Budget(seconds=100.0)), state)
    now.value += 90
    assert clock.progress() == 1
    state.longest_validation = 60.0  # but never more than a quarter
    now.value -= 30
    assert clock.progress() == pytest.approx(60 / 75)


def test_steps_are_counted_without_the_time(tmp_path, now):
    state = State(step=3, longest_validation=50.0)
    clock = Clock(ALONE, make_task(tmp_path, budget=Budget(iterations=6)), state)
    now.value += 1e6
    assert clock.progress() == 0.5
    assert clock.affords_validation()


def test_validations_are_passed_over_when_they_take_too_much_of_the_time(tmp_path, now):
    state = State(step=10)
    task = make_task(tmp_path, budget=Budget(seconds=1000.0))
    clock = Clock(ALONE, task, state)
    # two cases of one tile against batches of two tiles: a third of a step, by forward passes alone
    assert clock.validation_steps == pytest.approx(1 / 3)
    now.value += 30
    clock.progress()
    assert clock.expected_validation() == pytest.approx(1.0)
    assert clock.affords_validation()
    state.longest_validation = state.validation_seconds = 8.0
    assert not clock.affords_validation()  # 16 s of 38 s
    now.value += 30
    clock.progress()
    assert clock.affords_validation()  # 16 s of 68 s


def test_the_bar_gets_the_whole_budget(tmp_path, now):
    clock = Clock(ALONE, make_task(tmp_path, budget=Budget(seconds=50.0)), State())
    monitor = Recorder()
    clock.finish(monitor)
    clock.finish(monitor)
    assert monitor.used == 50
