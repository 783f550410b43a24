from __future__ import annotations

import csv
import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medseg.errors import StageError
from medseg.training import loop
from medseg.training.checkpoint import LAST, load_checkpoint
from medseg.training.launch import train
from medseg.training.loop import best_weights
from medseg.training.schedule import Budget
from medseg.training.task import Task
from tests.training.made import Recorder, make_plan, make_task

SCHEDULED = [
    {"name": "dice", "weight": {"start": 1.0, "end": 0.5, "shape": "cosine"}},
    {"name": "boundary", "as": "edge", "weight": "increase"},
    {"name": "hausdorff_dt", "weight": 0.1, "auto_balance": True},
]
FEW_STEPS = {"budget": Budget(iterations=6), "validations": 3}


class KilledError(Exception):
    """Stands for SIGKILL: nothing is cleaned up after it."""


def kill_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let the training die before it takes step ``steps``."""
    real = loop.train_step

    def step(*args, **kwargs):
        if args[4] == steps:
            raise KilledError
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, "train_step", step)


def rows(task: Task) -> list[dict[str, str]]:
    with (task.folder / "history.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def assert_same_outcome(a: Task, b: Task) -> None:
    first, second = load_checkpoint(a.folder), load_checkpoint(b.folder)
    assert first is not None
    assert second is not None
    for part in ("network", "average"):
        if first[part] is not None:
            for name, value in first[part].items():
                assert torch.equal(value, second[part][name]), name
    assert rows(a) == rows(b)


@pytest.mark.parametrize(
    ("killed_at", "more"),
    [
        (2, {"ema": 0.9}),
        (5, {"precision": "bf16-mixed", "network": {"norm": "batch"}}),
        (5, {"optimizer": "sgd", "schedule": "poly", "lr": 1e-2}),
        (3, {"loss": SCHEDULED}),
        (3, {"ema": "auto", "hard_cases": True, "cases": 8}),
        (5, {"ema": "auto", "budget": Budget(iterations=6, plateau=True)}),
        (3, {"score": "miou"}),
    ],
)
def test_a_killed_and_resumed_run_equals_an_undisturbed_one_bit_for_bit(
    tmp_path, monkeypatch, killed_at, more
):
    recipe = {**FEW_STEPS, **more, "checkpoint_every": Budget(iterations=1)}
    whole, broken = make_task(tmp_path / "a", **recipe), make_task(tmp_path / "b", **recipe)
    done = train(whole, Recorder())
    with monkeypatch.context() as patch:
        kill_after(patch, killed_at)
        with pytest.raises(KilledError):
            train(broken, Recorder())
    assert load_checkpoint(broken.folder)["state"]["step"] == killed_at
    resumed = train(broken, Recorder())
    assert_same_outcome(whole, broken)
    assert (done.step, done.best_step) == (resumed.step, resumed.best_step) == (6, done.best_step)
    weights = [load_file(best_weights(t, s)) for t, s in ((whole, done), (broken, resumed))]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_work_since_the_last_checkpoint_is_repeated_exactly(tmp_path, monkeypatch):
    recipe = {**FEW_STEPS, "checkpoint_every": Budget(iterations=3)}
    whole, broken = make_task(tmp_path / "a", **recipe), make_task(tmp_path / "b", **recipe)
    train(whole, Recorder())
    with monkeypatch.context() as patch:
        kill_after(patch, 5)
        with pytest.raises(KilledError):
            train(broken, Recorder())
    assert load_checkpoint(broken.folder)["state"]["step"] < 5
    train(broken, Recorder())
    assert_same_outcome(whole, broken)


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(tmp_path):
    tasks = [make_task(tmp_path / str(i), seed=s, **FEW_STEPS) for i, s in enumerate((1, 1, 2))]
    for task in tasks:
        train(task, Recorder())
    assert_same_outcome(tasks[0], tasks[1])
    assert rows(tasks[0]) != rows(tasks[2])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("regions", [False, True])
def test_it_learns_two_boxes(tmp_path, ndim, regions):
    task = make_task(
        tmp_path,
        ndim=ndim,
        regions=regions,
        size=16 if ndim == 2 else 8,
        budget=Budget(iterations=60),
        validations=2,
        lr=1e-2,
        augment={"enabled": False},
        network={"norm": "batch", "widths": (8, 16)},
    )
    state = train(task, Recorder())
    assert state.best_dice["mean"] > 0.85
    assert {"mean", *(s.name for s in task.plan.scheme.structures)} == set(state.best_dice)


def test_a_slice_wise_network_learns_from_volumes(tmp_path):
    task = make_task(tmp_path, ndim=3, size=12, budget=Budget(iterations=60), batch_size=4, lr=1e-2)
    network = make_plan(ndim=2, norm="batch", widths=(8, 16)).network
    plan = replace(task.plan, patch_size=(12, 12, 1), slice_axis=2, network=network)
    state = train(replace(task, plan=plan), Recorder())
    assert state.best_dice["mean"] > 0.7


def test_partly_labelled_cases_train_and_score_what_they_have(tmp_path):
    task = make_task(tmp_path, **FEW_STEPS)
    train_cases = (replace(task.train[0], annotated=(1,)), *task.train[1:])
    validation = tuple(replace(case, annotated=(1,)) for case in task.validation)
    state = train(replace(task, train=train_cases, validation=validation), Recorder())
    assert state.best_dice["mean"] == state.best_dice["left"]
    assert math.isnan(state.best_dice["right"])


def test_metrics_progress_and_history_say_the_same(tmp_path):
    task, monitor = make_task(tmp_path, **FEW_STEPS), Recorder()
    state = train(task, monitor)
    assert monitor.used == pytest.approx(6)
    history = rows(task)
    assert [int(row["step"]) for row in history] == [2, 4, 6]
    assert [float(row["progress"]) for row in history] == pytest.approx([1 / 3, 2 / 3, 1])
    logged = {step: metrics for step, metrics in monitor.metrics if "val/dice/mean" in metrics}
    for row in history:
        metrics = logged[int(row["step"])]
        assert metrics["val/dice/left"] == pytest.approx(float(row["val/dice/left"]))
    names = {name for _, metrics in monitor.metrics for name in metrics}
    assert {"train/loss", "train/loss/dice", "train/loss/ce", "train/lr"} <= names
    assert {"system/steps_per_second", "system/data_wait_share"} <= names
    assert all(0 <= m.get("system/data_wait_share", 0) <= 1 for _, m in monitor.metrics)
    best = max(history, key=lambda row: (float(row["val/dice/mean"]), int(row["step"])))
    assert int(best["step"]) == state.best_step


def test_every_term_of_a_sum_is_logged_and_its_weight_follows_the_budget(tmp_path, monkeypatch):
    seen = []
    real = loop.train_step

    def step(learner, *args):
        values = real(learner, *args)
        weights = [learner.loss.weight_of(name) for name in ("edge", "hausdorff_dt")]
        seen.append((args[3], *weights, values))
        return values

    monkeypatch.setattr(loop, "train_step", step)
    monitor = Recorder()
    train(make_task(tmp_path, loss=SCHEDULED, **FEW_STEPS), monitor)
    for number, edge, hausdorff, _ in seen:
        assert edge == pytest.approx(0.01 + 0.99 * number / 6)
        assert hausdorff == 0.1
    assert len(seen) == 6
    names = {name for _, metrics in monitor.metrics for name in metrics}
    assert names >= {"train/loss/dice", "train/loss/edge", "train/loss/hausdorff_dt"}


def test_only_the_best_weights_are_left(tmp_path):
    task = make_task(tmp_path, **FEW_STEPS)
    (task.folder / "best-00000001.safetensors").write_bytes(b"left by a kill")
    state = train(task, Recorder())
    assert [p.name for p in sorted(task.folder.glob("*.safetensors"))] == [
        best_weights(task, state).name
    ]
    assert not list(task.folder.glob(".*"))


def test_a_loss_that_is_not_finite_names_the_step_and_a_cure(tmp_path):
    task = make_task(tmp_path, lr=1e30, gradient_clip=0.0, optimizer="sgd")
    with pytest.raises(StageError, match=r"not finite.* at step \d+; lower train.lr"):
        train(task, Recorder())
    saved = load_checkpoint(task.folder)
    if saved is not None:
        assert all(value.isfinite().all() for value in saved["network"].values())


def test_sigterm_leaves_a_checkpoint_and_reaches_its_former_handler(tmp_path, monkeypatch):
    task = make_task(tmp_path, **FEW_STEPS)
    whole = make_task(tmp_path / "whole", **FEW_STEPS)
    train(whole, Recorder())
    real = loop.train_step

    def step(*args, **kwargs):
        values = real(*args, **kwargs)
        if args[4] == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return values

    class ToldError(Exception):
        pass

    def handler(signum, frame):
        raise ToldError

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(loop, "train_step", step)
            with pytest.raises(ToldError):
                train(task, Recorder())
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert load_checkpoint(task.folder)["state"]["step"] == 3
    train(task, Recorder())
    assert_same_outcome(whole, task)


def test_a_time_budget_ends_in_time_with_a_last_validation(tmp_path):
    task = make_task(tmp_path, budget=Budget(seconds=1.5), validations=3)
    state = train(task, Recorder())
    assert state.seconds < 3
    assert state.history[-1]["progress"] == 1
    assert state.history[-1]["step"] == state.step > 3


def test_a_finished_run_is_only_read_again(tmp_path):
    task = make_task(tmp_path, **FEW_STEPS)
    first = train(task, Recorder())
    again = train(task, Recorder())
    assert again.step == first.step
    assert len(again.history) == len(first.history)


def test_a_damaged_checkpoint_is_refused_with_its_cure(tmp_path: Path):
    task = make_task(tmp_path)
    (task.folder / LAST).write_bytes(b"half a file")
    with pytest.raises(StageError, match="delete it to train from the start"):
        train(task, Recorder())


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Fail rather than wait for processes that do not find each other."""

    def handler(signum, frame):
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, handler)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
def test_two_processes_equal_one_with_the_doubled_batch(tmp_path):
    recipe = {**FEW_STEPS, "augment": {"enabled": False}, "budget": Budget(iterations=3)}
    loss = {"name": "dice_ce", "batch": True}
    one = make_task(tmp_path / "one", batch_size=4, loss=loss, **recipe)
    two = make_task(tmp_path / "two", batch_size=2, loss=loss, **recipe)
    train(one, Recorder())
    monitor = Recorder()
    with time_limit(240):
        state = train(two, monitor, devices=2)
    assert state.step == 3
    assert any("train/loss" in metrics for _, metrics in monitor.metrics)
    a, b = (load_checkpoint(t.folder)["network"] for t in (one, two))
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=2e-4, rtol=1e-3)
    assert_close_history(one, two)


def assert_close_history(a: Task, b: Task) -> None:
    for left, right in zip(rows(a), rows(b), strict=True):
        assert float(left["val/dice/mean"]) == pytest.approx(
            float(right["val/dice/mean"]), abs=2e-2
        )
