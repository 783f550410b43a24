from __future__ import annotations

import pytest

from medseg.errors import ConfigError
from medseg.stages.train import Train
from medseg.training.cycles import SelfCorrection
from medseg.training.schedule import lr_factor


def test_each_cycle_restarts_at_half_the_peak_and_falls_to_nothing():
    how = SelfCorrection(cycles=2, first=0.5)
    assert how.lr_factor(0.25, "cosine") == lr_factor(0.5, "cosine")
    assert how.lr_factor(0.4999, "poly") == pytest.approx(0, abs=1e-3)
    for start in (0.5, 0.75):
        assert how.lr_factor(start, "cosine") == pytest.approx(0.5)
        assert how.lr_factor(start + 0.125, "cosine") == pytest.approx(0.25)
        assert how.lr_factor(start + 0.2499, "cosine") == pytest.approx(0, abs=1e-5)
    assert how.lr_factor(1.0, "cosine") == 0


def test_phases_are_counted_when_they_end():
    how = SelfCorrection(cycles=5, first=2 / 3)
    ends = [how.first + (1 - how.first) * m / 5 for m in range(6)]
    assert [how.phases_done(p) for p in ends] == [1, 2, 3, 4, 5, 6]
    assert [how.phases_done(p - 1e-6) for p in ends] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("wrong", [{"cycles": 1}, {"first": 0.0}, {"first": 1.0}])
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ConfigError, match=rf"self_correction\.{next(iter(wrong))}"):
        SelfCorrection(**wrong)


@pytest.mark.parametrize("other", [{"ema": 0.99}, {"ema": "auto"}, {"budget": "plateau,2h"}])
def test_another_average_or_an_open_end_is_refused(other):
    Train(self_correction=SelfCorrection(), budget="2h")
    with pytest.raises(ConfigError, match=r"train\.self_correction keeps an average of its own"):
        Train(self_correction=SelfCorrection(), **other)
