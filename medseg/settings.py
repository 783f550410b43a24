"""Config sections that belong to no single stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Which network; ``medseg list networks`` prints the names."""

    name: str = "unet"
    ndim: Literal["auto", 2, 3] = "auto"
    """2 runs slice by slice on volumes; auto is the dimension of the data."""
    preset: Literal["auto", "default", "M", "L", "XL"] = "auto"
    """nnU-Net's preset that patch and batch are planned by: ``M``, ``L`` or ``XL`` (8, 24, 40 GB)
    for ``resenc_unet``, ``default`` (8 GB) for any other. auto: ``M`` or ``default`` on a GPU, a
    network for a few cores on a CPU."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the network; what is not given is planned."""


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where per-case work and training run; never part of a result's key."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    workers: int | Literal["auto"] = "auto"
    """Processes for per-case work; auto: as many as cores and free memory allow."""
    scheduler: str | None = None
    """Address of a dask scheduler, such as ``tcp://host:8786``; None runs here."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """MLflow; ``tracking: off`` in a config sets ``enabled`` to False."""

    enabled: bool = True
    uri: str | None = None
    """Tracking server; None: ``$MLFLOW_TRACKING_URI``, else SQLite beside the runs."""
