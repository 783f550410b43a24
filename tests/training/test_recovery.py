"""Faults are put into the weights of a step; what happens next must not depend on anything else."""

from __future__ import annotations

import logging
import math
import pickle

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

from medseg.errors import StageError
from medseg.io.store import open_array, write_array
from medseg.training import clock, loop
from medseg.training.checkpoint import load_checkpoint
from medseg.training.launch import train
from medseg.training.meter import NotFiniteError
from medseg.training.schedule import Budget
from medseg.training.stall import StallWatch
from tests.training.made import Recorder, make_task
from tests.training.test_loop import KilledError, assert_same_outcome, rows, time_limit

EIGHT = {"budget": Budget(iterations=8), "validations": 2, "ema": "auto", "hard_cases": True}


def break_step(monkeypatch: pytest.MonkeyPatch, at: int, *, weights_only: bool = False) -> None:
    """Let step ``at`` blow up unless the learning rate is below that of the recipe."""
    real = loop.train_step

    def step(learner, batch, lr, clip, number, task):
        values = real(learner, batch, lr, clip, number, task)
        if number == at and lr > 0.6 * task.recipe.lr * learner_lr(number, task):
            with torch.no_grad():
                next(learner.module.parameters()).fill_(math.nan)
            if not weights_only:
                values["loss"] = values["loss"] * math.nan
        return values

    monkeypatch.setattr(loop, "train_step", step)


def learner_lr(number: int, task) -> float:
    return clock.lr_factor(number / task.recipe.budget.total, task.recipe.schedule)


@pytest.mark.parametrize("weights_only", [False, True])
def test_a_fault_is_survived_with_half_the_step_and_told(
    tmp_path, monkeypatch, caplog, weights_only
):
    break_step(monkeypatch, 5, weights_only=weights_only)
    monkeypatch.setattr(clock, "LOG_POINTS", 2)
    task, monitor = make_task(tmp_path, **EIGHT), Recorder()
    with caplog.at_level(logging.WARNING):
        state = train(task, monitor)
    seen = 7 if weights_only else 6  # the first loss of broken weights
    assert f"at step {seen}: back to step 4, learning rate times 0.5" in caplog.text
    assert (state.step, state.recoveries, state.lr_scale) == (8, 1, 0.5)
    assert (4, {"train/recoveries": 1.0}) in monitor.metrics
    assert [row["recoveries"] for row in rows(task)] == ["0", "1"]
    assert [int(row["step"]) for row in rows(task)] == [4, 8]
    saved = load_checkpoint(task.folder)
    for part in ("network", "average"):
        assert all(value.isfinite().all() for value in saved[part].values())


def test_two_runs_with_one_fault_are_equal_however_late_it_is_seen(tmp_path, monkeypatch):
    break_step(monkeypatch, 5)
    monkeypatch.setattr(clock, "LOG_POINTS", 2)
    late = make_task(tmp_path / "late", **EIGHT)
    soon = make_task(tmp_path / "soon", **EIGHT, checkpoint_every=Budget(iterations=1))
    for task in (late, soon):
        train(task, Recorder())
    assert_same_outcome(late, soon)


@pytest.mark.parametrize("killed_at", [5, 6])
def test_a_killed_run_goes_back_where_an_undisturbed_one_does(tmp_path, monkeypatch, killed_at):
    """Killed before the fault, with a good state that is older than the checkpoint; or after."""
    break_step(monkeypatch, 5)
    monkeypatch.setattr(clock, "LOG_POINTS", 2)
    recipe = {**EIGHT, "checkpoint_every": Budget(iterations=1)}
    whole, broken = make_task(tmp_path / "a", **recipe), make_task(tmp_path / "b", **recipe)
    train(whole, Recorder())
    with monkeypatch.context() as patch:
        faulty = loop.train_step

        def step(*args):
            if args[4] == killed_at:
                raise KilledError
            return faulty(*args)

        patch.setattr(loop, "train_step", step)
        with pytest.raises(KilledError):
            train(broken, Recorder())
    assert load_checkpoint(broken.folder)["state"]["step"] == killed_at
    assert train(broken, Recorder()).recoveries == 1
    assert_same_outcome(whole, broken)


def test_the_fourth_time_is_the_last(tmp_path, monkeypatch, caplog):
    real, broken = loop.train_step, []

    def step(*args):
        values = real(*args)
        broken.append(args[4])
        return {**values, "loss": values["loss"] * math.nan}

    monkeypatch.setattr(loop, "train_step", step)
    with caplog.at_level(logging.WARNING), pytest.raises(StageError, match=r"at step 1; lower"):
        train(make_task(tmp_path, **EIGHT), Recorder())
    assert len([r for r in caplog.records if "back to step 0" in r.message]) == 3
    assert broken == [0, 0, 0, 0]


def test_the_error_survives_the_way_from_another_process():
    error = pickle.loads(pickle.dumps(NotFiniteError(7)))
    assert (error.step, str(error)) == (7, str(NotFiniteError(7)))


def fit_fp16(folder, scale: float, **recipe):
    """Train in float16 with a gradient scaler; Fabric offers it on a CPU as a plugin alone."""
    task = make_task(folder, budget=Budget(iterations=4), gradient_clip=0.01, **recipe)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    precision = MixedPrecision("16-mixed", "cpu", scaler)
    state = loop.fit(Fabric(accelerator="cpu", devices=1, plugins=[precision]), task, Recorder())
    return state, load_checkpoint(task.folder)


def test_gradients_are_unscaled_before_they_are_clipped(tmp_path):
    """By SGD, since Adam forgets a factor on all gradients."""
    recipe = {"optimizer": "sgd", "lr": 0.1}
    _, small = fit_fp16(tmp_path / "small", 2.0**4, **recipe)
    _, large = fit_fp16(tmp_path / "large", 2.0**12, **recipe)
    for name, value in small["network"].items():
        torch.testing.assert_close(value, large["network"][name], atol=2e-5, rtol=1e-3)


def test_a_step_that_the_scaler_skips_is_no_failure(tmp_path):
    state, saved = fit_fp16(tmp_path, 2.0**126)
    assert (state.step, state.recoveries) == (4, 0)
    assert saved["scaler"]["scale"] < 2.0**126
    assert all(value.isfinite().all() for value in saved["network"].values())


def test_a_stall_is_told_once_with_its_cure(caplog):
    watch = StallWatch(in_memory=False, own_processes=True)
    with caplog.at_level(logging.WARNING):
        watch.watch(9.0, 10.0)
        assert not caplog.records  # too early to say
        watch.watch(3.0, 30.0)
        watch.watch(30.0, 30.0)
    (record,) = caplog.records
    assert "waited for data during 30 %" in record.message
    assert "compressed store" in record.message
    assert watch.share == pytest.approx(42 / 70)
    assert "CPU cores" in StallWatch(in_memory=True, own_processes=True).cure()
    quiet = StallWatch(in_memory=True, own_processes=False)
    quiet.watch(4.0, 100.0)
    assert not quiet.told


@pytest.mark.slow
def test_processes_go_back_together(tmp_path):
    """One case holds a NaN, so sooner or later one of two processes alone sees a bad loss."""
    task = make_task(tmp_path, cases=6, budget=Budget(iterations=6), batch_size=1)
    bad = open_array(task.train[0].image).read_all()
    write_array(task.train[0].image, np.full_like(bad, np.nan))
    with time_limit(240), pytest.raises(StageError, match="loss is not finite"):
        train(task, Recorder(), devices=2)
