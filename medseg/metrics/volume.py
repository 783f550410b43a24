"""Volumes and how they differ; all arguments of one function in the same unit."""

from __future__ import annotations

from medseg.geometry.volume import Grid


def voxel_size(grid: Grid) -> float:
    """Return the size of one voxel: mL in 3-D, 1 px for photographs."""
    return grid.voxel_volume_ml if grid.ndim == 3 else 1.0


def volume_error(volume: float, reference: float) -> float:
    """Return volume - reference, signed, in the unit of both."""
    return volume - reference


def absolute_volume_error(volume: float, reference: float) -> float:
    """Return ``|volume - reference|`` in the unit of both."""
    return abs(volume - reference)


def relative_volume_error(volume: float, reference: float) -> float:
    """Return the error of the volume over the reference's; above 0 it is too large.

    (volume - reference) / reference; NaN where the reference is empty.

    Parameters
    ----------
    volume, reference : float
        Predicted and reference volume in the same unit.
    """
    return (volume - reference) / reference if reference else float("nan")


def absolute_relative_volume_error(volume: float, reference: float) -> float:
    """Return ``|volume - reference| / reference`` (RAVD); NaN where the reference is empty."""
    return abs(relative_volume_error(volume, reference))


def volume_similarity(volume: float, reference: float) -> float:
    """Return ``1 - |volume - reference| / (volume + reference)``, in [0, 1].

    It compares sizes only: two masks of one size without overlap have similarity 1. SimpleITK's
    ``GetVolumeSimilarity`` is another quantity, signed and in [-2, 2].

    Parameters
    ----------
    volume, reference : float
        In the same unit; NaN where both are 0, 0 where one is.

    References
    ----------
    .. [1] Taha and Hanbury, Metrics for evaluating 3D medical image segmentation, BMC Medical
       Imaging 2015, equation 8.
    """
    total = volume + reference
    return 1 - abs(volume - reference) / total if total else float("nan")
