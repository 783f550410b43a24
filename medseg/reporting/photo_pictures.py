"""Pictures of a segmented photograph: the classes laid over it, and where they are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.volume import Volume
from medseg.io.picture import write_image_png
from medseg.labels import IGNORE_INDEX, Structure
from medseg.metrics.case import structure_mask
from medseg.reporting.case_report import Picture
from medseg.reporting.window import choose_window, color_picture, is_color

Indices = NDArray[np.int16]
Shown = NDArray[np.float64]
"""(rows, cols, 3) in [0, 1]."""

SHARE = 0.55
"""Of the class's colour where it is laid over the photograph."""
WRONG, VOID = (0.84, 0.12, 0.1), (0.25, 0.25, 0.5)
"""Colours of wrong and of ignored pixels in an error map."""
LONGEST = 640
"""Pixels of the longer side at most; larger pictures are thinned out."""


def draw_photo(
    case: str,
    image: Volume,
    pred: Indices,
    label: Indices | None,
    structures: Sequence[Structure],
    folder: Path,
) -> tuple[Picture, ...]:
    """Write the prediction, the reference and the errors of a photograph as PNG.

    Parameters
    ----------
    case : str
        Id, for the words.
    image : Volume
        2-D.
    pred, label : int16 ndarray of shape (rows, cols)
        Class indices; without label the prediction alone is drawn.
    structures : sequence of Structure
        Their colours; later ones are painted over earlier ones.
    folder : Path
    """
    step = max(1, -(-max(pred.shape) // LONGEST))
    thin = (slice(None, None, step),) * 2
    seen = _shown(image)[thin]
    pictures = [
        Picture(
            file=_write(folder / "prediction.png", overlay(seen, pred[thin], structures)),
            title="Prediction",
            caption="Predicted classes over the picture, in the colours of the table.",
            alt=f"Picture {case} with the predicted classes laid over it.",
        )
    ]
    if label is None:
        return tuple(pictures)
    wrong = error_map(seen, pred[thin], label[thin])
    return (
        *pictures,
        Picture(
            file=_write(folder / "reference.png", overlay(seen, label[thin], structures)),
            title="Reference",
            caption="Reference classes over the picture; pixels without colour have no class.",
            alt=f"Picture {case} with the reference classes laid over it.",
        ),
        Picture(
            file=_write(folder / "errors.png", wrong),
            title="Errors",
            caption="Red: the prediction differs from the reference. Blue: ignored.",
            alt=f"Picture {case} in grey with wrong pixels in red and ignored ones in blue.",
            group="difference",
        ),
    )


def overlay(seen: Shown, indices: Indices, structures: Sequence[Structure]) -> Shown:
    """Lay the colours of classes over a picture; background and ignored pixels stay as they are."""
    painted = seen.copy()
    for structure in structures:
        mask = structure_mask(indices, structure)
        colour = np.array([int(structure.color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        painted[mask] = (1 - SHARE) * seen[mask] + SHARE * colour
    return painted


def error_map(seen: Shown, pred: Indices, label: Indices) -> Shown:
    """Show wrong pixels in red and ignored ones in blue over the picture in grey."""
    grey = np.repeat(0.3 + 0.5 * seen.mean(axis=-1, keepdims=True), 3, axis=-1)
    ignored = label == IGNORE_INDEX
    grey[(pred != label) & ~ignored] = WRONG
    grey[ignored] = 0.5 * grey[ignored] + 0.5 * np.array(VOID)
    return grey


def _shown(image: Volume) -> Shown:
    """Return the picture in colour, or its first channel in grey."""
    if is_color(image.data):
        return color_picture(image.data)
    window = choose_window(image.data, "photo")
    grey = np.clip((image.data[0] - window.low) / (window.high - window.low), 0.0, 1.0)
    return np.repeat(grey[..., None].astype(np.float64), 3, axis=-1)


def _write(file: Path, picture: Shown) -> str:
    """Write a picture as PNG; return its file name."""
    pixels = np.moveaxis(np.rint(255 * picture).astype(np.uint8), -1, 0)
    write_image_png(file, Volume(data=pixels, affine=np.eye(3)))
    return file.name
