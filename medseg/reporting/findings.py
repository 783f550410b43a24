"""What one predicted structure looks like: diameters, intensities, lesions one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.crop import crop_grid
from medseg.geometry.volume import Grid, Volume
from medseg.labels import Structure
from medseg.metrics.box import Box, content_box, union_mask
from medseg.metrics.instances import find_lesions
from medseg.metrics.shape import largest_axial_diameter, largest_diameter, structure_volume_ml

Indices = NDArray[np.int16]
Mask = NDArray[np.bool_]

LESION_WORDS = (
    "lesion", "tumour", "tumor", "metasta", "nodule", "cyst", "carcinoma", "cancer", "abscess",
    "haemorrhage", "hemorrhage", "infarct", "polyp",
)  # fmt: skip
"""A structure whose name holds one of these is a lesion, unless the manifest says otherwise."""
MOST_LESIONS = 100
"""Lesions that are described, largest first; a noisy mask has thousands of specks."""
MOSTLY = 0.5
"""Share of a lesion's surroundings from which on it lies in an organ, not at its edge."""


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One connected piece of a structure that is a lesion."""

    volume_ml: float
    """In mL; px for photographs."""
    diameter_mm: float
    axial_diameter_mm: float
    axial_slice: int | None
    """Slice in which that diameter lies, counted from 1; None for photographs."""
    slice: int | None
    """Axial slice in which its area is largest, counted from 1; None for photographs."""
    position: tuple[float, ...]
    """World coordinates of its centre (RAS+ mm; px for photographs)."""
    organ: str | None
    """Structure that surrounds it most; None where only background does."""
    organ_share: float
    """Share of the voxels around it that belong to the organ."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is measured of one predicted structure besides volume and pieces."""

    diameter_mm: float | None
    """Largest diameter in any direction (px for photographs), of a lesion that of one piece; None
    where it was not found."""
    axial_diameter_mm: float | None
    """Largest diameter within one axial slice, of a lesion that of one piece."""
    axial_slice: int | None
    """That slice, counted from 1."""
    intensity_mean: float | None
    """Of the first channel, as stored (HU for CT); None without image or structure."""
    intensity_sd: float | None
    """Population standard deviation over the structure's voxels."""
    lesions: tuple[Lesion, ...] | None
    """Largest first; None for a structure that is no lesion."""
    lesions_left_out: int = 0
    """Smaller ones that are not described."""


def is_lesion(structure: Structure) -> bool:
    """Tell whether a structure's pieces are listed one by one.

    The manifest's ``lesion: true`` or ``false`` decides; without it the name (`LESION_WORDS`).
    """
    if structure.lesion is not None:
        return structure.lesion
    return any(word in structure.name.lower() for word in LESION_WORDS)


def find(
    image: Volume, pred: Indices, structures: tuple[Structure, ...], *, has_image: bool = True
) -> list[Findings]:
    """Measure every structure of a prediction.

    Parameters
    ----------
    image : Volume
        On the canonical grid.
    pred : int16 ndarray of shape (*spatial)
        Class indices on the same grid.
    structures : tuple of Structure
    has_image : bool
        False where the image is a blank that stands for none.

    Returns
    -------
    list of Findings
        One per structure, in their order.
    """
    organs = tuple(s for s in structures if not is_lesion(s))
    channel = image.data[0] if has_image else None
    return [_find_one(channel, pred, image.grid, structure, organs) for structure in structures]


def _find_one(
    channel: NDArray[Any] | None,
    pred: Indices,
    grid: Grid,
    structure: Structure,
    organs: tuple[Structure, ...],
) -> Findings:
    """Measure one structure within the box around it."""
    whole = union_mask(pred, structure.indices)
    box = content_box(whole)
    if box is None:
        return Findings(
            diameter_mm=None,
            axial_diameter_mm=None,
            axial_slice=None,
            intensity_mean=None,
            intensity_sd=None,
            lesions=() if is_lesion(structure) else None,
        )
    mask = whole[box]
    inner = crop_grid(grid, tuple(s.start for s in box), tuple(s.stop for s in box))
    values = None if channel is None else channel[box][mask].astype(np.float64)
    lesions: tuple[Lesion, ...] | None = None
    left_out = 0
    if is_lesion(structure):
        lesions, left_out = _lesions(mask, box, pred, grid, organs)
        longest = max(lesions, key=lambda one: one.axial_diameter_mm)
        across = max(one.diameter_mm for one in lesions)
        axial, index = longest.axial_diameter_mm, longest.axial_slice
    else:
        across, axial, index = _diameters(mask, inner, box)
    return Findings(
        diameter_mm=across,
        axial_diameter_mm=axial,
        axial_slice=index,
        intensity_mean=None if values is None else float(values.mean()),
        intensity_sd=None if values is None else float(values.std()),
        lesions=lesions,
        lesions_left_out=left_out,
    )


def _diameters(mask: Mask, grid: Grid, box: Box) -> tuple[float, float, int | None]:
    """Return the largest diameters of a mask that holds something, and the slice from 1."""
    whole, axial = largest_diameter(mask, grid), largest_axial_diameter(mask, grid)
    if whole is None or axial is None:
        raise ValueError("the mask is empty")
    index = axial.slice_index
    return whole.length_mm, axial.length_mm, None if index is None else index + box[2].start + 1


def _lesions(
    mask: Mask, box: Box, pred: Indices, grid: Grid, organs: tuple[Structure, ...]
) -> tuple[tuple[Lesion, ...], int]:
    """Describe the largest pieces of a mask that was cut to its box, and count the others."""
    pieces = find_lesions(mask)
    sizes = np.bincount(pieces.ravel())[1:]
    order = np.argsort(-sizes, kind="stable")
    described = []
    for number in order[:MOST_LESIONS] + 1:
        piece = pieces == number
        inner = content_box(piece)
        if inner is None:
            continue
        place = tuple(
            slice(outer.start + s.start, outer.start + s.stop)
            for outer, s in zip(box, inner, strict=True)
        )
        described.append(_lesion(piece[inner], place, pred, grid, organs))
    return tuple(described), max(0, len(sizes) - MOST_LESIONS)


def _lesion(
    piece: Mask, place: Box, pred: Indices, grid: Grid, organs: tuple[Structure, ...]
) -> Lesion:
    """Describe one piece; ``place`` is its box in the whole array."""
    inner = crop_grid(grid, tuple(s.start for s in place), tuple(s.stop for s in place))
    across, axial, index = _diameters(piece, inner, place)
    centre = np.argwhere(piece).mean(axis=0)
    world = inner.matrix[:-1, :-1] @ centre + inner.matrix[:-1, -1]
    area = piece.sum(axis=(0, 1)) if grid.ndim == 3 else None
    organ, share = _organ_around(piece, place, pred, organs)
    return Lesion(
        volume_ml=structure_volume_ml(piece, inner),
        diameter_mm=across,
        axial_diameter_mm=axial,
        axial_slice=index,
        slice=None if area is None else int(area.argmax()) + place[2].start + 1,
        position=tuple(round(float(x), 1) for x in world),
        organ=organ,
        organ_share=share,
    )


def _organ_around(
    piece: Mask, place: Box, pred: Indices, organs: tuple[Structure, ...]
) -> tuple[str | None, float]:
    """Name the organ that most of the voxels beside a piece belong to, and their share."""
    wide = tuple(
        slice(max(0, s.start - 1), min(n, s.stop + 1))
        for s, n in zip(place, pred.shape, strict=True)
    )
    inside = np.zeros(tuple(s.stop - s.start for s in wide), dtype=np.bool_)
    offset = tuple(s.start - w.start for s, w in zip(place, wide, strict=True))
    inside[tuple(slice(o, o + n) for o, n in zip(offset, piece.shape, strict=True))] = piece
    ring = _beside(inside)
    beside = pred[wide][ring]
    best, share = None, 0.0
    for organ in organs:
        found = float(union_mask(beside, organ.indices).mean()) if beside.size else 0.0
        if found > share:
            best, share = organ.name, found
    return best, share


def _beside(mask: Mask) -> Mask:
    """Mark the voxels outside a mask that share a face with it."""
    near = np.zeros_like(mask)
    for axis in range(mask.ndim):
        layers, hit = np.moveaxis(mask, axis, 0), np.moveaxis(near, axis, 0)
        hit[1:] |= layers[:-1]
        hit[:-1] |= layers[1:]
    near &= ~mask
    return near
