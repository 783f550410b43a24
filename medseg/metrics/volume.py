"""Volumes and their errors."""

from __future__ import annotations

from medseg.geometry.volume import Grid


def voxel_size(grid: Grid) -> float:
    """Return the size of one voxel: mL in 3-D, 1 px for photographs."""
    return grid.voxel_volume_ml if grid.ndim == 3 else 1.0


def relative_volume_error(volume: float, reference: float) -> float:
    """Return (volume - reference) / reference; NaN where the reference is empty.

    Parameters
    ----------
    volume, reference : float
        Predicted and reference volume in the same unit.
    """
    return (volume - reference) / reference if reference else float("nan")
