"""Patch-sample: where each case's foreground is, and which patches training will see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from medseg.artefacts import PatchIndex, Plan, Resampled
from medseg.stages.context import Context


@dataclass(frozen=True, kw_only=True)
class PatchSample:
    """Draw patches with a forced share of foreground, balanced over the classes."""

    writes: ClassVar[str] = "patches"
    patch_size: tuple[int, ...] | Literal["auto"] = "auto"
    """Patch size in voxels of the resampled grid."""
    foreground_share: float = 0.33
    """Share of patches centred on a foreground voxel, its class drawn uniformly."""
    rows: int = 2000
    """Rows of the index that are written out to be looked at."""
    seed: int = 0

    def run(self, resampled: Resampled, plan: Plan, context: Context) -> PatchIndex:
        """Return the index over the training cases."""
        raise NotImplementedError
