"""All metrics of one case, structure by structure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry.volume import Grid
from medseg.labels import IGNORE_INDEX, LabelScheme, Structure
from medseg.metrics.components import count_components
from medseg.metrics.overlap import dice, iou, overlap_counts, precision, recall
from medseg.metrics.surface import surface_distances
from medseg.metrics.volume import relative_volume_error, voxel_size

Status = Literal["ok", "both_empty", "missed", "false_alarm"]
STATUSES: tuple[Status, ...] = ("ok", "both_empty", "missed", "false_alarm")

Indices = NDArray[np.int16]
Box = tuple[slice, ...]


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
    pred, label = drop_ignored(pred, label)
    boxes = [_class_boxes(array, scheme) for array in (pred, label)]
    rows = []
    for structure in scheme.structures:
        if annotated is not None and not set(structure.indices) <= set(annotated):
            continue
        box = _union([found[i] for found in boxes for i in structure.indices])
        rows.append(
            score_masks(_mask(pred, structure, box), _mask(label, structure, box), grid, structure)
        )
    return rows


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
    boxes = _class_boxes(pred, scheme)
    sizes = []
    for structure in scheme.structures:
        mask = _mask(pred, structure, _union([boxes[i] for i in structure.indices]))
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
    """Score one structure; the masks may be crops of the grid's array that hold both objects."""
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


def drop_ignored(pred: Indices, label: Indices) -> tuple[Indices, Indices]:
    """Set the voxels that the reference ignores to background in both arrays."""
    ignored = label == IGNORE_INDEX
    if not ignored.any():
        return pred, label
    return np.where(ignored, np.int16(0), pred), np.where(ignored, np.int16(0), label)


def structure_mask(indices: Indices, structure: Structure) -> NDArray[np.bool_]:
    """Return the mask of a structure in an array of class indices of any shape."""
    mask: NDArray[np.bool_] = indices == structure.indices[0]
    for index in structure.indices[1:]:
        mask |= indices == index
    return mask


def _surface_metrics(
    pred: NDArray[np.bool_], label: NDArray[np.bool_], grid: Grid, tolerance: float, status: Status
) -> tuple[float, float, float, float]:
    """Return HD, HD95, ASSD and NSD with their values for empty masks."""
    if status == "both_empty":
        return (float("nan"),) * 4
    if status != "ok":
        return float("inf"), float("inf"), float("inf"), 0.0
    found = surface_distances(pred, label, grid)
    return found.hd(), found.hd_percentile(95), found.assd(), found.nsd(tolerance)


def _class_boxes(indices: Indices, scheme: LabelScheme) -> dict[int, Box | None]:
    """Return the bounding box of every class in one pass; None for an absent class."""
    found = ndimage.find_objects(indices, max_label=len(scheme.labels))
    return dict(enumerate(found, start=1))


def _union(boxes: Sequence[Box | None]) -> Box | None:
    """Return the box around several boxes; None where there is none."""
    real = [box for box in boxes if box is not None]
    if not real:
        return None
    return tuple(
        slice(min(s.start for s in sides), max(s.stop for s in sides))
        for sides in zip(*real, strict=True)
    )


def _mask(indices: Indices, structure: Structure, box: Box | None) -> NDArray[np.bool_]:
    """Cut the mask of a structure; one empty voxel where there is no box."""
    if box is None:
        return np.zeros((1,) * indices.ndim, dtype=np.bool_)
    return structure_mask(indices[box], structure)
