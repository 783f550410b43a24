"""Write finished predictions the way the input was stored: same grid, orientation and size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.orientation import reorient_to
from medseg.geometry.volume import Grid, Volume
from medseg.io.picture import write_palette_png
from medseg.io.volumes import write_image_png, write_nifti
from medseg.labels import PALETTE, LabelScheme

MOST_PALETTE = 255
"""Largest value that a palette PNG holds."""
_CANONICAL_AXIS = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}


def stored_grid(canonical: Grid, orientation: str) -> Grid:
    """Return the grid a file is stored on, from its canonical grid and its axis codes.

    Parameters
    ----------
    canonical : Grid
        Axes closest to right, anterior, superior, in this order.
    orientation : str
        Axis codes of the stored image, such as ``LPS``; empty for photographs, which have no other
        grid.

    Returns
    -------
    Grid
        The same voxels with axes in stored order and direction.
    """
    if not orientation:
        return canonical
    to_canonical = np.zeros((4, 4))  # stored voxel index -> canonical voxel index
    to_canonical[3, 3] = 1.0
    for axis, code in enumerate(orientation):
        along, flipped = _CANONICAL_AXIS[code], code in "LPI"
        to_canonical[along, axis] = -1.0 if flipped else 1.0
        to_canonical[along, 3] = canonical.shape[along] - 1 if flipped else 0.0
    shape = tuple(canonical.shape[_CANONICAL_AXIS[code]] for code in orientation)
    return Grid.of(shape, canonical.matrix @ to_canonical + 0.0)  # + 0.0 turns -0.0 into 0.0


def prediction_name(case: str, ndim: int) -> str:
    """Name a prediction's file: NIfTI for volumes, PNG for photographs."""
    return f"{case}.nii.gz" if ndim == 3 else f"{case}.png"


def write_prediction(
    path: Path,
    indices: NDArray[np.int16],
    canonical: Grid,
    stored: Grid,
    scheme: LabelScheme,
) -> Path:
    """Write class indices as the label table's values on the grid of the input.

    Parameters
    ----------
    path : Path
        Ends as `prediction_name` says.
    indices : int16 ndarray of shape canonical.shape
    canonical, stored : Grid
        The same voxels, as predicted and as the input stores them.
    scheme : LabelScheme

    Returns
    -------
    Path
        ``path``.
    """
    values = Volume(data=scheme.to_values(indices)[np.newaxis], affine=canonical.matrix)
    turned = reorient_to(values, stored)
    return write_nifti(path, turned) if stored.ndim == 3 else write_image_png(path, turned)


def label_colours(scheme: LabelScheme, ndim: int) -> tuple[str, ...]:
    """Return each label's ``#rrggbb`` in table order; nothing for volumes."""
    if ndim != 2:
        return ()
    rows = enumerate(scheme.labels)
    return tuple(label.color or PALETTE[i % len(PALETTE)] for i, label in rows)


def write_coloured(
    path: Path,
    indices: NDArray[np.int16],
    colours: Sequence[str],
    values: Sequence[int] | None = None,
) -> Path:
    """Write class indices of a photograph as a PNG in colours; background and ignored are black.

    Where values fit into 8 bits it is a palette PNG whose indices are the values: the form in which
    PASCAL VOC keeps masks and takes submissions.

    Parameters
    ----------
    path : Path
        Ends in ``.png``.
    indices : int16 ndarray of shape (rows, cols)
    colours : sequence of str
        ``#rrggbb`` of the class indices from 1 on.
    values : sequence of int, optional
        The label table's value of each; 1, 2 and so on.

    Returns
    -------
    Path
        ``path``.
    """
    own = list(range(1, len(colours) + 1)) if values is None else list(values)
    if max(own, default=0) <= MOST_PALETTE:
        stored = np.array([0, *own], dtype=np.int16)[np.maximum(indices, 0)]
        return write_palette_png(path, stored, dict(zip(own, colours, strict=True)))
    table = np.zeros((len(colours) + 1, 3), dtype=np.uint8)
    for i, colour in enumerate(colours, start=1):
        table[i] = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    pixels = np.moveaxis(table[np.maximum(indices, 0)], -1, 0)
    return write_image_png(path, Volume(data=pixels, affine=np.eye(3)))
