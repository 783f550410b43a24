"""The structures from outside: shaded surfaces seen from three sides.

No mesh is built. Masks are sampled on an even grid and smoothed; along every ray of a view the
surface lies where the smoothed mask first passes one half, its normal is the gradient there, and
its brightness the cosine to the light (Lambert's law). Where there are lesions, other structures
are drawn as through frosted glass, so that the lesions inside show.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry.volume import Grid
from medseg.labels import Structure
from medseg.metrics.box import content_box, union_mask
from medseg.reporting.case_report import Picture
from medseg.reporting.findings import is_lesion
from medseg.reporting.planes import AXIAL, CORONAL, SAGITTAL, View
from medseg.reporting.section_picture import Frame, draw_section

Field = NDArray[np.float32]

LONGEST = 144
"""Samples along the longest side of the structures."""
MARGIN = 1 / 12
"""Of that side, left empty around them for the letters."""
FINEST = 4
"""Samples along the shortest side of a voxel, at most."""
LEVEL = 0.5
GLASS = 0.4
"""Opacity of an organ where there are lesions to be seen."""
PAPER = 0.92
"""Grey of the background."""
AMBIENT = 0.3
"""Brightness of a surface that is turned away from the light."""
SIDES = (
    (CORONAL, -1, "front"),
    (SAGITTAL, 1, "patient's left"),
    (AXIAL, 1, "feet"),
)
"""View, direction of its rays along the axis, and where the reader stands."""


def draw_surfaces(
    case: str,
    pred: NDArray[np.int16],
    grid: Grid,
    structures: tuple[Structure, ...],
    folder: Path,
) -> tuple[Picture, ...]:
    """Draw the predicted structures from three sides; nothing where none was found.

    Parameters
    ----------
    case : str
        Case id, for the alternative text.
    pred : int16 ndarray of shape (*spatial)
        Class indices on the canonical grid.
    grid : Grid
        Photographs have no surface.
    structures : tuple of Structure
    folder : Path
        Where the PNG files are written.
    """
    wanted = tuple(index for structure in structures for index in structure.indices)
    box = content_box(union_mask(pred, wanted)) if grid.ndim == 3 else None
    if box is None:
        return ()
    sampled, step = _even_samples(pred[box], grid.spacing)
    glass = any(is_lesion(s) and union_mask(sampled, s.indices).any() for s in structures)
    solids = []
    for structure in structures:
        mask = union_mask(sampled, structure.indices)
        if mask.any():
            opacity = GLASS if glass and not is_lesion(structure) else 1.0
            # organs are smoothed over one voxel of the scan; small lesions would not survive that
            share = 0.5 if is_lesion(structure) else 1.0
            widths = [max(1.0, share * s / step) for s in grid.spacing]
            field = ndimage.gaussian_filter(mask.astype(np.float32), widths)
            solids.append((field, to_rgb(structure.color), opacity))
    pictures = []
    for view, direction, place in SIDES:
        picture = _composite([_shade(f, c, o, view, direction) for f, c, o in solids])
        frame = Frame(pixel=(step, step), letters=view.letters, unit="mm")
        file = f"surface_{view.name}.png"
        (folder / file).write_bytes(draw_section(picture, (), frame, 0.0, 1.0))
        names = ", ".join(s.name for s in structures)
        pictures.append(
            Picture(
                file=file,
                title=f"From the {place}",
                caption="Surface of the prediction, smoothed for the picture."
                + (" Organs are drawn as glass, so that lesions show." if glass else ""),
                alt=f"Shaded surface of the predicted {names} of case {case}, seen from the "
                f"{place}; the scale is in mm.",
                group="surface",
            )
        )
    return tuple(pictures)


def _even_samples(
    pred: NDArray[np.int16], spacing: tuple[float, ...]
) -> tuple[NDArray[np.int16], float]:
    """Sample class indices (nearest) on an isotropic grid with an empty border."""
    sides = [n * s for n, s in zip(pred.shape, spacing, strict=True)]
    step = max(max(sides) / LONGEST, min(spacing) / FINEST)
    places = []
    for n, size, side in zip(pred.shape, spacing, sides, strict=True):
        count = max(1, round(side / step))
        at = (np.arange(count) + 0.5) * step / size - 0.5
        places.append(np.clip(np.rint(at).astype(np.intp), 0, n - 1))
    border = max(4, round(MARGIN * max(len(at) for at in places)))
    return np.pad(pred[np.ix_(*places)], border), step


def _shade(
    field: Field, color: tuple[float, float, float], opacity: float, view: View, direction: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return depth (inf: nothing), colour and opacity of a structure's picture, as arrays."""
    axis = 0 if view.axis is None else view.axis
    along = field if direction > 0 else np.flip(field, axis)
    turned = np.moveaxis(along, (axis, view.y_axis, view.x_axis), (0, 1, 2))
    hit = turned > LEVEL
    first = hit.argmax(axis=0)
    found = hit.any(axis=0)
    grid: NDArray[np.intp] = np.indices(found.shape, dtype=np.intp)
    rows, cols = grid[0], grid[1]
    normal = np.stack([_slope(turned, first, rows, cols, a) for a in range(3)])
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-6)
    light = np.array([0.85, -0.4, 0.35]) / np.linalg.norm([0.85, -0.4, 0.35])
    bright = AMBIENT + (1 - AMBIENT) * np.clip(np.tensordot(light, normal, 1), 0, 1)
    depth = np.where(found, first, np.inf).astype(np.float32)
    shown = (bright[..., None] * np.array(color)).astype(np.float32)
    alpha = np.where(found, opacity, 0.0).astype(np.float32)
    return depth[::-1, ::-1], shown[::-1, ::-1], alpha[::-1, ::-1]


def _slope(
    field: NDArray[np.float32],
    first: NDArray[np.intp],
    rows: NDArray[np.intp],
    cols: NDArray[np.intp],
    axis: int,
) -> NDArray[np.float64]:
    """Return the central difference of a field at one voxel per ray; it points inwards."""
    at = [first, rows, cols]
    ahead, behind = list(at), list(at)
    ahead[axis] = np.minimum(at[axis] + 1, field.shape[axis] - 1)
    behind[axis] = np.maximum(at[axis] - 1, 0)
    rise: NDArray[np.float64] = field[tuple(ahead)].astype(np.float64) - field[tuple(behind)]
    return rise


def _composite(
    layers: list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]],
) -> NDArray[np.float32]:
    """Lay the nearer surfaces over the farther ones, on paper."""
    depth = np.stack([layer[0] for layer in layers])
    order = np.argsort(depth, axis=0, kind="stable")
    colors = np.take_along_axis(np.stack([c for _, c, _ in layers]), order[..., None], axis=0)
    alphas = np.take_along_axis(np.stack([a for _, _, a in layers]), order, axis=0)
    picture = np.zeros((*depth.shape[1:], 3), dtype=np.float32)
    through = np.ones(depth.shape[1:], dtype=np.float32)
    for color, alpha in zip(colors, alphas, strict=True):
        picture += (through * alpha)[..., None] * color
        through *= 1 - alpha
    picture += through[..., None] * PAPER
    return np.clip(picture, 0, 1)
