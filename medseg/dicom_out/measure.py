"""What a structured report says of each segment: sizes, intensities and what to beware of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from medseg.dicom_out.segments import Segment
from medseg.geometry.volume import Volume
from medseg.metrics.box import union_mask
from medseg.metrics.shape import (
    Diameter,
    largest_axial_diameter,
    largest_diameter,
    structure_volume_ml,
    touched_sides,
)

PRIVATE = "99MEDSEG"
"""Coding scheme of what no public one has a code for."""

QUALITY = Code("QUALITY", PRIVATE, "Quality flag")
ABSENT = Code("ABSENT", PRIVATE, "Structure not found")
EDGE: Mapping[str, Code] = {
    side: Code(f"EDGE_{side}", PRIVATE, f"Reaches the edge of the scan {words}")
    for side, words in {
        "R": "on the right",
        "L": "on the left",
        "A": "at the front",
        "P": "at the back",
        "S": "towards the head",
        "I": "towards the feet",
    }.items()
}
"""Quality flag of a structure that reaches a side of the scan and may go on unseen."""


@dataclass(frozen=True, kw_only=True)
class SegmentMeasures:
    """One segment's figures."""

    segment: Segment
    volume_ml: float
    diameter: Diameter
    """Largest in any direction."""
    axial_diameter: Diameter
    """Largest within one axial slice."""
    mean: float
    """Mean intensity under the mask, in the image's unit (HU for CT)."""
    sd: float
    """Standard deviation of the voxels (of the population, as IBSI has it)."""
    flags: tuple[Code, ...]


def measure_segments(
    image: Volume, indices: NDArray[np.int16], segments: Sequence[Segment]
) -> tuple[SegmentMeasures, ...]:
    """Measure every segment on the canonical grid.

    Parameters
    ----------
    image : Volume
        Its first channel is measured.
    indices : int16 ndarray of shape image.grid.shape
    segments : sequence of Segment
        Each with a voxel at least.
    """
    return tuple(_measure(image, union_mask(indices, one.indices), one) for one in segments)


def _measure(image: Volume, mask: NDArray[np.bool_], segment: Segment) -> SegmentMeasures:
    """Measure one segment."""
    grid = image.grid
    diameter, axial = largest_diameter(mask, grid), largest_axial_diameter(mask, grid)
    if diameter is None or axial is None:
        raise ValueError(f"segment {segment.name} has no voxel; list only those that were found")
    values = image.data[0][mask].astype(np.float64)
    return SegmentMeasures(
        segment=segment,
        volume_ml=structure_volume_ml(mask, grid),
        diameter=diameter,
        axial_diameter=axial,
        mean=float(values.mean()),
        sd=float(values.std()),
        flags=tuple(EDGE[side] for side in touched_sides(mask, grid)),
    )
