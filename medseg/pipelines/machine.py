"""What a run knows of the machine: device, versions, cores; and the seeds it sets."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import random
import re
import sys
from typing import Any

import numpy as np
import psutil

import medseg
from medseg.errors import ConfigError

_PACKAGES = ("torch", "numpy", "scipy", "nibabel", "SimpleITK", "lightning-fabric", "mlflow")


def check_device(device: str) -> str:
    """Return a device name that is spelled right; whether it is there is seen later.

    Raises
    ------
    ConfigError
        If it is not ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        return device
    raise ConfigError(f"compute.device: '{device}' is no device; use auto, cpu, cuda or cuda:N")


def resolve_device(device: str) -> str:
    """Return ``cpu`` or ``cuda:N``; this imports torch.

    Raises
    ------
    ConfigError
        If a CUDA device was asked for and is not there.
    """
    if check_device(device) == "cpu":
        return "cpu"
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda:0" if count else "cpu"
    index = int(device.partition(":")[2] or 0)
    if index < count:
        return f"cuda:{index}"
    raise ConfigError(
        f"compute.device: {device} is not there ({count} CUDA devices found); use --device cpu"
    )


def seed_everything(seed: int, stage: str) -> None:
    """Seed the global generators before a stage; stages with a ``seed`` use their own as well."""
    number = int.from_bytes(hashlib.sha256(f"{seed}:{stage}".encode()).digest()[:4], "big")
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 - for libraries that draw from the global generator
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(number)


def versions() -> dict[str, str]:
    """Return the versions of medseg, Python and what computes; nothing is imported for it."""
    found = {"medseg": medseg.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def host() -> dict[str, Any]:
    """Return cores, memory and operating system."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(terse=True),
    }
