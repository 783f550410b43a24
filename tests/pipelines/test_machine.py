"""Devices, versions and seeds."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from medseg.errors import ConfigError
from medseg.pipelines.machine import check_device, host, resolve_device, seed_everything, versions
from medseg.settings import Compute


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:3"])
def test_devices_that_are_spelled_right(device: str) -> None:
    assert check_device(device) == device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "", "CPU"])
def test_devices_that_are_not(device: str) -> None:
    with pytest.raises(ConfigError, match="use auto, cpu, cuda or cuda:N"):
        check_device(device)


@pytest.mark.parametrize(
    ("wanted", "count", "found"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cuda", 1, "cuda:0"), ("cuda:1", 2, "cuda:1")],
)
def test_auto_takes_what_is_there(
    monkeypatch: pytest.MonkeyPatch, wanted: str, count: int, found: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert resolve_device(wanted) == found


def test_a_device_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"cuda:1 is not there \(1 CUDA devices found\)"):
        resolve_device("cuda:1")


def test_seeds_depend_on_seed_and_stage() -> None:
    def draw(seed: int, stage: str) -> tuple[float, float, float]:
        seed_everything(seed, stage)
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    first = draw(0, "train")
    assert draw(0, "train") == first
    for one, other in zip(first, draw(0, "infer"), strict=True):
        assert one != other
    for one, other in zip(first, draw(1, "train"), strict=True):
        assert one != other


def test_versions_and_host_are_plain() -> None:
    assert versions()["torch"] == torch.__version__
    assert host()["cores"] >= 1
    assert host()["memory_gib"] > 0


def test_no_workers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"compute\.workers is 0; it must be 1 or more, or auto"):
        Compute(workers=0)
