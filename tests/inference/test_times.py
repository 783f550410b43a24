from __future__ import annotations

import pytest

from medseg.inference.times import StepTimes


def test_seconds_add_up_per_step_in_the_order_of_their_first():
    times = StepTimes()
    times.add("network", 2.0)
    times.add("read", 1.0)
    times.add("network", 0.5)
    assert times.seconds == {"network": 2.5, "read": 1.0}
    assert str(times) == "network 2.5 s, read 1.0 s"


def test_a_step_that_fails_is_timed():
    times = StepTimes()
    with pytest.raises(KeyError), times("write"):
        raise KeyError
    assert times.seconds["write"] >= 0


def test_nothing_timed_says_nothing():
    assert str(StepTimes()) == ""
