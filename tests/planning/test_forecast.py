from __future__ import annotations

from dataclasses import replace

import pytest

from medseg.planning.forecast import (
    IMAGE_BYTES,
    LABEL_BYTES,
    STATE_BYTES,
    Budgeted,
    Measured,
    Room,
    certainly_too_small,
    forecast_rows,
    forecast_words,
    make_forecast,
    stored_bytes,
    training_voxels,
)
from medseg.planning.planner import make_plan
from medseg.planning.wishes import Wishes
from tests.planning.tiny import dataset

MEASURED = Measured(seconds=0.5, device_bytes=2e9, host_bytes=2e9, basis="by hand")
ROOMY = Room(disk=1e12, host=1e11, device=1e11, where="runs")
TEN_MINUTES = Budgeted(text="10min", seconds=600, iterations=None, validations=10)


def planned(data=None, **wishes):
    data = data or dataset(shapes=((40, 56, 40),) * 10)
    return make_plan(data, Wishes(patch_size=(40, 56, 40), batch_size=8, **wishes), "cpu"), data


def foretold(budget=TEN_MINUTES, room=ROOMY, measured=MEASURED, data=None, **wishes):
    plan, data = planned(data, **wishes)
    return make_forecast(plan, data, measured, budget, room, parameters=10**6, device="cpu")


def test_a_budget_of_time_by_hand():
    forecast = foretold()
    assert forecast.steps == 1200
    assert forecast.hours == pytest.approx(1 / 6)
    assert forecast.patches_per_case == 1200 * 8 / 10
    assert forecast.passes == 960  # a patch is a case
    assert forecast.warnings == ()


def test_a_budget_of_steps_by_hand():
    forecast = foretold(Budgeted(text="100it", seconds=None, iterations=100, validations=1))
    assert forecast.hours == pytest.approx(50 / 3600)
    folds = replace(TEN_MINUTES, folds=5)
    assert foretold(folds).hours == pytest.approx(5 / 6)
    assert forecast_words(foretold(folds)).startswith("50 min for 5 folds of 1 200 steps of 0.5 s")
    one = foretold(Budgeted(text="1it", seconds=None, iterations=1, validations=1))
    assert dict(forecast_rows(one))["training"].endswith("budget 1it, 1 step")


def test_disk_by_hand():
    plan, data = planned()
    voxels = 40 * 56 * 40
    assert training_voxels(plan, data) == [voxels] * 10
    assert stored_bytes(plan, data) == pytest.approx(10 * voxels * (IMAGE_BYTES + LABEL_BYTES))
    expected = stored_bytes(plan, data) + STATE_BYTES * 10**6
    assert foretold().disk_gb == pytest.approx(expected / 1e9)


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (0.5, 0.5, 0.5)])
def test_voxels_follow_the_spacing(spacing):
    data = dataset(shapes=((40, 56, 40),) * 10)
    plan, _ = planned(data, spacing=spacing)
    factor = 1 / spacing[0] ** 3
    assert training_voxels(plan, data) == [40 * 56 * 40 * factor] * 10


def test_pictures():
    data = dataset(spacings=((1.0, 1.0),) * 4, shapes=((360, 480),) * 4, channels=("r", "g", "b"))
    plan = make_plan(data, Wishes(), "cpu")
    assert stored_bytes(plan, data) == pytest.approx(
        4 * 360 * 480 * (3 * IMAGE_BYTES + LABEL_BYTES)
    )


def test_a_budget_that_buys_less_than_a_patch_of_each_case_is_warned_of():
    slow = replace(MEASURED, seconds=100)
    few = foretold(replace(TEN_MINUTES, text="1s", seconds=1), measured=slow)
    assert few.steps == 1
    assert "fewer than one patch of each training case" in few.warnings[0]
    assert "a step takes 100 s on this CPU" in few.warnings[1]
    busy = foretold(TEN_MINUTES, measured=replace(slow, seconds=6, disturbed=True))
    assert busy.warnings == ()  # it would be quicker on a quiet machine


def test_a_disk_that_is_too_small_is_warned_of_and_refused_when_certain():
    need = foretold().disk_gb * 1e9
    tight = foretold(room=replace(ROOMY, disk=need / 2))
    assert "runs has" in tight.warnings[0]
    assert not certainly_too_small(tight)
    assert certainly_too_small(foretold(room=replace(ROOMY, disk=need / 10)))


def test_it_can_be_read():
    rows = dict(forecast_rows(foretold()))
    assert rows["training"] == "10 min: budget 10min, 1 200 steps"
    assert rows["time"].startswith("0.5 s a step")
    assert "memory of the device" not in rows  # on a CPU it is the memory
    assert forecast_words(foretold()).startswith("10 min for 1 200 steps of 0.5 s, 2.00 GB")
