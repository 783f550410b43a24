"""nnU-Net's presets: how much memory each network is planned for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A network and the budget it is planned for.

    References
    ----------
    .. [1] Isensee et al., nnU-Net, Nature Methods 18, 2021 (default).
    .. [2] Isensee et al., nnU-Net revisited, MICCAI 2024 (ResEnc M, L, XL).
    """

    name: str
    """As in ``network.preset``."""
    title: str
    """In words."""
    reference: Mapping[int, float]
    """Per dimension, the estimate of activations (`medseg.planning.patch`) that fills `memory`."""
    memory: float
    """GB of the device."""
    coverage: float
    """Share of all training voxels that one batch covers at most."""
    residual: bool
    """Whether it is for the residual-encoder U-Net, whose blocks are 1, 3, 4, 6, 6, ..."""


PRESETS: Mapping[str, Preset] = {
    "default": Preset(
        name="default",
        title="rules",
        reference={2: 85e6, 3: 560e6},
        memory=8,
        coverage=0.05,
        residual=False,
    ),
    "M": Preset(
        name="M",
        title="ResEnc M rules",
        reference={2: 135e6, 3: 680e6},
        memory=8,
        coverage=1,
        residual=True,
    ),
    "L": Preset(
        name="L",
        title="ResEnc L rules",
        reference={2: 380e6, 3: 2.1e9},
        memory=24,
        coverage=1,
        residual=True,
    ),
    "XL": Preset(
        name="XL",
        title="ResEnc XL rules",
        reference={2: 560e6, 3: 3.6e9},
        memory=40,
        coverage=1,
        residual=True,
    ),
}
