"""How tiles cover an image: what a user may choose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from medseg.inference.tiles import Places
from medseg.settings import Inference

CPU_BATCH_VOXELS, GPU_BATCH_VOXELS = 2**19, 2**23
"""Voxels per forward pass that ``batch_size: auto`` aims at (two tiles of 64^3; four of 128^3)."""


@dataclass(frozen=True, kw_only=True)
class WindowSettings(Inference):
    """How tiles cover an image, and what that may cost; see `medseg.inference.sweep.sweep`."""

    places: Places = "steps"
    """MONAI's, so that an exported bundle sees the same tiles; "even": nnU-Net's. As many tiles."""
    batch_size: int | Literal["auto"] = "auto"
    """Tiles per forward pass; auto suits the device."""
    half_sums: bool = False
    """Sum logits in float16, which halves their memory; they change by up to 2**-11 of their size
    per overlapping tile. Done by itself where the memory would not do otherwise."""
    memory: int | None = None
    """Bytes that the process may have in use on the device; None: a share of what is free."""


def tiles_per_batch(
    wanted: int | Literal["auto"], patch_size: tuple[int, ...], device: torch.device
) -> int:
    """Resolve ``batch_size: auto``: as many tiles as fill a device's voxels per pass, 1 to 32."""
    if wanted != "auto":
        return wanted
    voxels = CPU_BATCH_VOXELS if device.type == "cpu" else GPU_BATCH_VOXELS
    return min(32, max(1, voxels // math.prod(patch_size)))
