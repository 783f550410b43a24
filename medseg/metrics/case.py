"""All metrics of one case, structure by structure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.volume import Grid
from medseg.labels import LabelScheme, Structure
from medseg.metrics.box import drop_ignored as drop_ignored
from medseg.metrics.box import structure_crops, union_mask
from medseg.metrics.components import count_components
from medseg.metrics.overlap import dice, iou, overlap_counts, precision, recall
from medseg.metrics.surface import crop_distances
from medseg.metrics.volume import relative_volume_error, voxel_size

Status = Literal["ok", "both_empty", "missed", "false_alarm"]
STATUSES: tuple[Status, ...] = ("ok", "both_empty", "missed", "false_alarm")

Indices = NDArray[np.int16]


@dataclass(frozen=True, kw_only=True)
class StructureSize:
    """Size of one predicted structure."""

    structure: str
    volume_ml: float
    """In mL; in px for photographs."""
    components: int
    """Connected pieces: 26 neighbours in 3-D, 8 in 2-D."""


@dataclass(frozen=True, kw_only=True)
class StructureScore:
    """Metrics of one structure in one case; where mm and mL stand, photographs have px.

    Empty masks: ``both_empty`` gives NaN throughout; ``missed`` (prediction empty) and
    ``false_alarm`` (reference empty) give 0 for Dice, IoU and NSD and +inf for distances.
    Precision is NaN without prediction, recall NaN without reference.
    """

    structure: str
    status: Status
    dice: float
    iou: float
    precision: float
    recall: float
    hd_mm: float
    hd95_mm: float
    assd_mm: float
    nsd: float
    nsd_tolerance_mm: float
    volume_ml: float
    reference_volume_ml: float
    volume_error_ml: float
    """Prediction minus reference."""
    relative_volume_error: float
    components: int
    reference_components: int
    diagonal_mm: float
    """Diagonal of the image: what an infinite distance counts as in a mean."""


def score_case(
    pred: Indices,
    label: Indices,
    grid: Grid,
    scheme: LabelScheme,
    annotated: Collection[int] | None = None,
) -> list[StructureScore]:
    """Score a prediction against its reference.

    Parameters
    ----------
    pred, label : int16 ndarray of shape (*spatial)
        Class indices. Voxels whose label is ``IGNORE_INDEX`` count nowhere: they are taken as
        background in both.
    grid : Grid
        Grid of both arrays.
    scheme : LabelScheme
        Label table; its structures (labels, or regions as unions of labels) are scored.
    annotated : collection of int, optional
        Class indices the reference covers; None means all. A structure with a label that is not
        covered is left out.

    Returns
    -------
    list of StructureScore
        In the order of the label table.

    Raises
    ------
    ValueError
        If the arrays and the grid differ in shape.
    """
    if not pred.shape == label.shape == grid.shape:
        raise ValueError(f"pred {pred.shape}, label {label.shape} and grid {grid.shape} differ")
    scored = [
        structure
        for structure in scheme.structures
        if annotated is None or set(structure.indices) <= set(annotated)
    ]
    crops = structure_crops(pred, label, [structure.indices for structure in scored])
    return [
        score_masks(pred_mask, label_mask, grid, structure)
        for structure, (pred_mask, label_mask) in zip(scored, crops, strict=True)
    ]


def measure_case(pred: Indices, grid: Grid, scheme: LabelScheme) -> list[StructureSize]:
    """Measure the predicted structures of a case, which needs no reference.

    Parameters
    ----------
    pred : int16 ndarray of shape (*spatial)
        Class indices.
    grid : Grid
        Grid of the array.
    scheme : LabelScheme
        Label table; its structures are measured.
    """
    crops = structure_crops(pred, pred, [structure.indices for structure in scheme.structures])
    sizes = []
    for structure, (mask, _) in zip(scheme.structures, crops, strict=True):
        volume = int(np.count_nonzero(mask)) * voxel_size(grid)
        sizes.append(
            StructureSize(
                structure=structure.name, volume_ml=volume, components=count_components(mask)
            )
        )
    return sizes


def score_masks(
    pred: NDArray[np.bool_], label: NDArray[np.bool_], grid: Grid, structure: Structure
) -> StructureScore:
    """Score one structure; the masks are cut to the box around both objects."""
    counts = overlap_counts(pred, label)
    status = status_of(counts.tp + counts.fp, counts.tp + counts.fn)
    size = voxel_size(grid)
    volume, reference = (counts.tp + counts.fp) * size, (counts.tp + counts.fn) * size
    hd, hd95, assd, nsd = _surface_metrics(pred, label, grid, structure.nsd_tolerance_mm, status)
    return StructureScore(
        structure=structure.name,
        status=status,
        dice=dice(counts),
        iou=iou(counts),
        precision=precision(counts),
        recall=recall(counts),
        hd_mm=hd,
        hd95_mm=hd95,
        assd_mm=assd,
        nsd=nsd,
        nsd_tolerance_mm=structure.nsd_tolerance_mm,
        volume_ml=volume,
        reference_volume_ml=reference,
        volume_error_ml=volume - reference,
        relative_volume_error=relative_volume_error(volume, reference),
        components=count_components(pred),
        reference_components=count_components(label),
        diagonal_mm=float(np.linalg.norm(np.multiply(grid.shape, grid.spacing))),
    )


def status_of(pred_voxels: int, label_voxels: int) -> Status:
    """Name which of the two masks is empty."""
    if pred_voxels and label_voxels:
        return "ok"
    if pred_voxels:
        return "false_alarm"
    return "missed" if label_voxels else "both_empty"


def structure_mask(indices: Indices, structure: Structure) -> NDArray[np.bool_]:
    """Return the mask of a structure in an array of class indices of any shape."""
    return union_mask(indices, structure.indices)


def _surface_metrics(
    pred: NDArray[np.bool_], label: NDArray[np.bool_], grid: Grid, tolerance: float, status: Status
) -> tuple[float, float, float, float]:
    """Return HD, HD95, ASSD and NSD with their values for empty masks."""
    if status == "both_empty":
        return (float("nan"),) * 4
    if status != "ok":
        return float("inf"), float("inf"), float("inf"), 0.0
    found = crop_distances(pred, label, grid)
    return found.hd(), found.hd_percentile(95), found.assd(), found.nsd(tolerance)
