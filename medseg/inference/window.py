"""How tiles cover an image: what a user may choose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from medseg.inference.precision import Precision
from medseg.inference.tiles import Places
from medseg.settings import CRF

CPU_BATCH_VOXELS, GPU_BATCH_VOXELS = 2**19, 2**23
"""Voxels per forward pass that ``batch_size: auto`` aims at (two tiles of 64^3; four of 128^3)."""


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """How tiles cover an image; see `medseg.inference.sweep.sweep`."""

    overlap: float = 0.5
    places: Places = "steps"
    """MONAI's, so that an exported bundle sees the same tiles; "even": nnU-Net's. As many tiles."""
    mirror: bool = False
    """Average over flips of the plan's mirror axes; costs 2^axes the time."""
    shifts: int = 1
    """Average over this many shifts of each tile (`medseg.inference.shifts`), at that many times
    the time."""
    batch_size: int | Literal["auto"] = "auto"
    """Tiles per forward pass; auto suits the device."""
    precision: Precision = "auto"
    skip_empty: bool = True
    """Do not run tiles of a CT that hold nothing but air (or what the plan clips to the same
    value); they become background. Risk: a structure that a network sees in pure air, such as one
    guessed from the position in the tile alone."""
    adaptive: bool = False
    """See each voxel once, then run the overlapping tiles only where foreground is or nearly is.
    Risk: a small structure that only an overlapping tile, which has it in its middle, would have
    shown."""
    half_sums: bool = False
    """Sum logits in float16, which halves their memory; they change by up to 2**-11 of their size
    per overlapping tile. Done by itself where the memory would not do otherwise."""
    scales: tuple[float, ...] = (1.0,)
    """Average over the image at these sizes (`medseg.inference.multiscale`); all logits of a case
    are then in memory at once."""
    crf: CRF | None = None
    """Refine the probabilities by the image (`medseg.inference.crf`); likewise."""
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
