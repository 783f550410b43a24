"""Several processes train as one would with the larger batch."""

from __future__ import annotations

import logging
import os
import signal
import threading
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric

from medseg.errors import ConfigError, StageError
from medseg.launcher import Place
from medseg.team import Team
from medseg.training import launch
from medseg.training.checkpoint import load_checkpoint
from medseg.training.fabric import make_fabric
from medseg.training.launch import train
from medseg.training.learner import build_learner, sync_batch_norm
from medseg.training.schedule import Budget
from medseg.training.stop import GracefulStop
from tests.training.made import Recorder, make_task
from tests.training.test_loop import time_limit

EXACT = {
    "budget": Budget(iterations=20),
    "validations": 2,
    "precision": "32-true",
    "augment": {"enabled": False},  # drawn per process
    "loss": {"name": "dice_ce", "batch": False},  # Dice over all patches of a batch is no mean
}


@pytest.mark.slow
def test_two_processes_equal_one_with_the_doubled_batch_after_20_steps(tmp_path, caplog):
    one = make_task(tmp_path / "one", batch_size=4, **EXACT)
    two = make_task(tmp_path / "two", batch_size=2, **EXACT)
    alone = train(one, Recorder())
    monitor = Recorder()
    with time_limit(240), caplog.at_level(logging.INFO, "medseg"):
        state = train(two, monitor, devices=2)
    assert state.step == alone.step == 20
    a, b = (load_checkpoint(task.folder)["network"] for task in (one, two))
    moved = 0.0
    start = make_task(tmp_path / "start", **EXACT)
    untrained = first_weights(start)
    for name, weight in a.items():
        torch.testing.assert_close(weight, b[name], atol=1e-4, rtol=0, msg=name)
        moved = max(moved, float((weight - untrained[name]).abs().max()))
    assert moved > 1e-2  # a hundred times what they may differ by
    assert alone.best_dice["mean"] == pytest.approx(state.best_dice["mean"], abs=1e-3)
    # the first process tells, once, here: metrics, progress, log
    assert [step for step, metrics in monitor.metrics if "val/dice/mean" in metrics] == [10, 20]
    assert monitor.used == pytest.approx(20)
    said = [record.message for record in caplog.records if "validation Dice" in record.message]
    assert len(said) == 2


def first_weights(task):
    """Return the weights that every process begins with."""
    return build_learner(make_fabric("cpu", 1, task), task).module.state_dict()


@pytest.mark.slow
def test_a_signal_stops_all_processes_at_one_step_and_the_next_run_goes_on(tmp_path):
    recipe = {**EXACT, "validations": 1, "budget": Budget(iterations=100_000)}
    task = make_task(tmp_path, **recipe)

    class Interrupting(Recorder):
        sent = False

        def advance(self, amount, note):
            if amount > 0 and not self.sent:
                self.sent = True
                main = threading.main_thread().ident  # of this process: it passes it on
                signal.pthread_kill(main, signal.SIGINT)

    with time_limit(240), pytest.raises(KeyboardInterrupt):
        train(task, Interrupting(), devices=2)
    stopped = load_checkpoint(task.folder)["state"]["step"]
    assert 0 < stopped < 100_000
    # what was saved is resumed, here by one process with the doubled batch: the same patches
    short = replace(task.recipe, budget=Budget(iterations=stopped), batch_size=4)
    state = train(replace(task, recipe=short), Recorder())
    assert state.step == stopped


class TwoOfThem:
    """A Fabric of two processes that this test never starts."""

    world_size = 2


def test_a_signal_that_comes_twice_at_once_is_one(monkeypatch):
    got = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    clock = iter([10.0, 10.2, 11.5])
    monkeypatch.setattr("medseg.training.stop.time.monotonic", lambda: next(clock))
    try:
        with GracefulStop(1.0) as stop:
            for expected in ([], [], [signal.SIGTERM]):  # a terminal's, a launcher's, the user's
                os.kill(os.getpid(), signal.SIGTERM)
                assert got == expected
            assert not stop.requested
    finally:
        signal.signal(signal.SIGTERM, before)


def test_any_process_that_got_a_signal_stops_all(monkeypatch):
    def other_got_sigterm(tensor, op):
        assert tensor.device.type == "cpu"
        tensor.fill_(max(int(tensor), signal.SIGTERM))

    monkeypatch.setattr("torch.distributed.all_reduce", other_got_sigterm)
    stop = GracefulStop()
    assert stop.agreed(TwoOfThem())
    assert stop.signum == signal.SIGTERM
    assert not GracefulStop().agreed(Fabric(accelerator="cpu", devices=1))


def test_a_signal_that_comes_while_the_processes_agree_is_not_lost(monkeypatch):
    stop = GracefulStop()

    def none_had_one_when_asked(tensor, op):
        stop.signum = signal.SIGINT  # comes now, after this process has said that it had none

    monkeypatch.setattr("torch.distributed.all_reduce", none_had_one_when_asked)
    assert not stop.agreed(TwoOfThem())
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor, op: None)
    assert stop.agreed(TwoOfThem())
    assert stop.signum == signal.SIGINT


def leading(monkeypatch, error, *, told=""):
    """Let this process lead two, and the training break with ``error``."""
    team = Team(Place(0, 2, 0, 2, "127.0.0.1", 0), torch.distributed.HashStore())

    def broken(*args):
        if told:
            team.store.set("failed", told)
        raise error

    monkeypatch.setattr(launch, "current", lambda: team)
    monkeypatch.setattr(launch, "join", broken)


def test_the_number_of_devices_is_that_of_the_processes(tmp_path, monkeypatch):
    leading(monkeypatch, AssertionError())
    with pytest.raises(ConfigError, match=r"train.devices is 3, and 2 processes were started"):
        train(make_task(tmp_path), Recorder(), devices=3)


@pytest.mark.parametrize(
    ("error", "told", "kind", "message"),
    [
        (RuntimeError("gloo: Connection closed"), "process 1: disk full", StageError, "disk full"),
        (RuntimeError("gloo: Connection closed"), "", StageError, "processes .* is gone .*gloo"),
        (RuntimeError("some other"), "", RuntimeError, "some other"),
        (ConfigError("its own"), "process 1: gloo", ConfigError, "its own"),
    ],
)
def test_the_first_process_tells_why_a_training_broke(
    tmp_path, monkeypatch, error, told, kind, message
):
    leading(monkeypatch, error, told=told)
    with pytest.raises(kind, match=message):
        train(make_task(tmp_path), Recorder(), devices=2)


def test_batch_norm_over_all_devices_is_for_cuda():
    with pytest.raises(ConfigError, match=r"train.sync_batchnorm works on CUDA devices alone"):
        sync_batch_norm(torch.nn.BatchNorm2d(2), torch.device("cpu"))
    plain = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    synced = sync_batch_norm(plain, torch.device("cuda"))
    assert isinstance(synced[1], torch.nn.SyncBatchNorm)
    assert synced.state_dict().keys() == plain.state_dict().keys()
