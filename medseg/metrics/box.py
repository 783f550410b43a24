"""Bounding boxes of label maps, found at the speed of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.labels import IGNORE_INDEX

Box = tuple[slice, ...]
Labels = NDArray[np.integer | np.bool_]
Mask = NDArray[np.bool_]
Value = TypeVar("Value", bound=np.generic)

FEW = 6
"""Structures up to which one comparison for each is quicker than one search for all."""
SHORT = 256
"""Voxels in a row below which the loop over rows costs more than a copy."""
WORD = 8
"""Bytes that are read at once."""


def union_box(*arrays: Labels) -> Box | None:
    """Return the box around everything that is not 0 in any of several arrays of one shape.

    Each array is read once, in the order in which it lies in memory, so that the Fortran-ordered
    arrays of NIfTI files cost no more than others.

    Parameters
    ----------
    arrays : integer or bool ndarray of shape (*spatial)
        Label maps or masks.

    Returns
    -------
    tuple of slice, or None
        None where all of them are 0 everywhere.
    """
    return merge_boxes([content_box(array) for array in arrays])


def content_box(array: Labels) -> Box | None:
    """Return the box around everything that is not 0; None where there is nothing.

    Parameters
    ----------
    array : integer or bool ndarray of shape (*spatial)
        Label map or mask, in any memory order.
    """
    order = memory_order(array)
    laid = array.transpose(order)
    laid = laid.view(np.uint8) if laid.dtype == np.bool_ else laid
    sides: list[slice] = [slice(0, 0)] * array.ndim
    for axis in order:
        hit = np.flatnonzero(_layers(laid))
        if not hit.size:
            return None
        sides[axis] = slice(int(hit[0]), int(hit[-1]) + 1)
        laid = np.bitwise_or.reduce(laid[sides[axis]], axis=0)  # 0 only where all layers are
    return tuple(sides)


def memory_order(array: NDArray[np.generic]) -> tuple[int, ...]:
    """Return the axes from the slowest to the fastest in memory; C order where strides tie."""
    return tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))


def merge_boxes(boxes: Sequence[Box | None]) -> Box | None:
    """Return the box around several boxes; None where there is none."""
    real = [box for box in boxes if box is not None]
    if not real:
        return None
    return tuple(
        slice(min(s.start for s in sides), max(s.stop for s in sides))
        for sides in zip(*real, strict=True)
    )


def structure_crops(
    pred: Labels, label: Labels, structures: Sequence[Sequence[int]]
) -> Iterator[tuple[Mask, Mask]]:
    """Cut the masks of every structure out of two label maps, which are read once.

    Parameters
    ----------
    pred, label : integer ndarray of shape (*spatial)
        Class indices. Voxels whose label is ``IGNORE_INDEX`` are background in both.
    structures : sequence of sequence of int
        The class indices (positive) whose union is each structure.

    Yields
    ------
    pred, label : bool ndarray
        Masks of the structure in the box around both; one voxel of background where both are
        empty.
    """
    if pred.shape != label.shape:
        raise ValueError(f"pred has shape {pred.shape}, label {label.shape}; they must be equal")
    content = union_box(pred, label)
    arrays = drop_ignored(*[_cut(array, content) for array in (pred, label)])
    search = len(structures) > FEW
    found = [_class_boxes(array, structures) if search else [] for array in arrays]
    for structure in structures:
        if search:
            box = merge_boxes([boxes[index] for boxes in found for index in structure])
            masks = [union_mask(_cut(array, box), structure) for array in arrays]
        else:
            masks = [union_mask(array, structure) for array in arrays]
            box = union_box(*masks)
            masks = [_view(mask, box) for mask in masks]
        yield masks[0], masks[1]


def drop_ignored(pred: Labels, label: Labels) -> tuple[Labels, Labels]:
    """Set the voxels that the reference ignores to background in both arrays."""
    if label.dtype.kind != "i" or not (ignored := label == IGNORE_INDEX).any():
        return pred, label
    zero = label.dtype.type(0)
    return np.where(ignored, pred.dtype.type(0), pred), np.where(ignored, zero, label)


def union_mask(indices: Labels, structure: Sequence[int]) -> Mask:
    """Return where an array of class indices holds one of some classes."""
    mask: Mask = indices == structure[0]
    for index in structure[1:]:
        mask |= indices == index
    return mask


def _view(array: NDArray[Value], box: Box | None) -> NDArray[Value]:
    """Return the part of an array in a box; one voxel where there is none."""
    return array[box or (slice(0, 1),) * array.ndim]


def _cut(array: NDArray[Value], box: Box | None) -> NDArray[Value]:
    """Return the part of an array in a box, packed where its rows in memory are short."""
    part = _view(array, box)
    short = part.shape[memory_order(part)[-1]] < SHORT
    return part.copy(order="K") if short else part


def _layers(laid: Labels) -> Labels:
    """Return one number for each layer of the first axis: 0 where all its voxels are."""
    if laid.ndim == 1:
        return laid
    if laid.flags.c_contiguous:
        laid = laid.reshape(laid.shape[0], -1)
        if laid[0].nbytes % WORD == 0:
            laid = laid.view(np.uint64)
    joined: Labels = np.bitwise_or.reduce(laid, axis=tuple(range(1, laid.ndim)))
    return joined


def _class_boxes(array: Labels, structures: Sequence[Sequence[int]]) -> list[Box | None]:
    """Return the box of each class index from 0 in one pass; none for 0 and absent ones."""
    last = max(index for structure in structures for index in structure)
    order = memory_order(array)
    back = np.argsort(order)
    boxes: list[Box | None] = [None]
    for box in ndimage.find_objects(array.transpose(order), max_label=last):
        boxes.append(None if box is None else tuple(box[a] for a in back))
    return boxes
