"""Which slices of a volume are shown, and how they are turned for a reader.

Radiological convention on the canonical grid (axes towards Right, Anterior, Superior): the
patient's right is on the left of the picture, anterior or superior is at its top; a sagittal
picture looks from the side with anterior on the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.volume import Grid

Masks = Sequence[NDArray[np.bool_]]

EDGES = (("left", "right"), ("back", "front"), ("lower", "upper"))
"""Names of the first and last slice along the canonical axes."""
TIMES = " \N{MULTIPLICATION SIGN} "
"""Between the sides of a voxel or a block."""


@dataclass(frozen=True, kw_only=True)
class View:
    """How a plane is turned for the screen; ``axis`` is the one it cuts (None: a photograph)."""

    name: str
    axis: int | None
    x_axis: int
    """Array axis that runs along the picture's width."""
    y_axis: int
    letters: tuple[str, str, str, str]
    """What is at the left, right, top and bottom of the picture."""


AXIAL = View(name="axial", axis=2, x_axis=0, y_axis=1, letters=("R", "L", "A", "P"))
CORONAL = View(name="coronal", axis=1, x_axis=0, y_axis=2, letters=("R", "L", "S", "I"))
SAGITTAL = View(name="sagittal", axis=0, x_axis=1, y_axis=2, letters=("A", "P", "S", "I"))
PHOTOGRAPH = View(name="image", axis=None, x_axis=1, y_axis=0, letters=("", "", "", ""))


def views_of(ndim: int) -> tuple[View, ...]:
    """Return the three planes of a volume, or the one of a photograph."""
    return (AXIAL, CORONAL, SAGITTAL) if ndim == 3 else (PHOTOGRAPH,)


def section(array: NDArray[Any], view: View, index: int) -> NDArray[Any]:
    """Cut one slice and turn it for the screen.

    Parameters
    ----------
    array : ndarray of shape (*spatial)
        On the canonical grid.
    view : View
    index : int
        Position along the axis that the view cuts.

    Returns
    -------
    ndarray of shape (rows, cols)
        Row 0 is the top of the picture.
    """
    if view.axis is None:
        return array
    turned: NDArray[Any] = np.take(array, index, axis=view.axis).T[::-1, ::-1]
    return turned


def pixel_size(grid: Grid, view: View) -> tuple[float, float]:
    """Return width and height of a pixel of the picture, in mm (px for photographs)."""
    return grid.spacing[view.x_axis], grid.spacing[view.y_axis]


def clearest_index(masks: Masks, axis: int) -> int:
    """Return the slice that shows the structures largest, each measured by its own best slice.

    Parameters
    ----------
    masks : sequence of bool ndarray of shape (*spatial)
        One mask per structure. The middle slice where all are empty.
    axis : int
        Axis that is cut.
    """
    score = np.zeros(masks[0].shape[axis])
    for mask in masks:
        area = _areas(mask, axis)
        if area.any():
            score += area / area.max()
    return int(score.argmax()) if score.any() else masks[0].shape[axis] // 2


def worst_index(differences: Masks, axis: int) -> int:
    """Return the slice in which most voxels of all structures disagree."""
    return int(np.sum([_areas(mask, axis) for mask in differences], axis=0).argmax())


def tilt_degrees(grid: Grid) -> float:
    """Return the largest angle between a grid axis and the body axis it is named after.

    Parameters
    ----------
    grid : Grid
        A canonical grid of three axes; 0 for photographs.
    """
    if grid.ndim != 3:
        return 0.0
    cosines = np.diag(grid.matrix[:3, :3]) / np.array(grid.spacing)
    return float(np.degrees(np.arccos(np.clip(cosines.min(), -1.0, 1.0))))


def _areas(mask: NDArray[np.bool_], axis: int) -> NDArray[np.float64]:
    """Count the voxels of each slice along an axis."""
    others = tuple(a for a in range(mask.ndim) if a != axis)
    areas: NDArray[np.float64] = np.count_nonzero(mask, axis=others).astype(np.float64)
    return areas
