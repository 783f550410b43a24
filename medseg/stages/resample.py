"""Resample: normalised images and class indices at the planned spacing, in a chunked store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from medseg.artefacts import Dataset, Plan, Resampled
from medseg.stages.context import Context


@dataclass(frozen=True, kw_only=True)
class Resample:
    """Bring every case to one spacing: splines for images, linear one-hot for labels."""

    writes: ClassVar[str] = "resampled"
    spacing: tuple[float, ...] | Literal["auto"] = "auto"
    """Target spacing in mm, canonical axis order (left-right, front-back, feet-head)."""
    order: int = 3
    """Spline order for images: 3 (cubic) or 1 (linear)."""
    crop: bool = True
    """Crop to the bounding box of non-zero voxels first."""

    def run(self, dataset: Dataset, plan: Plan, context: Context) -> Resampled:
        """Write each case on its new grid."""
        raise NotImplementedError
