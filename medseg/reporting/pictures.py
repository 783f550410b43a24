"""The pictures of one case: planes through the structures, and where the masks differ most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry.volume import Grid, Volume
from medseg.labels import IGNORE_INDEX, Structure
from medseg.metrics.case import structure_mask
from medseg.reporting.case_report import Picture, PictureGroup
from medseg.reporting.planes import (
    View,
    clearest_index,
    pixel_size,
    section,
    tilt_degrees,
    views_of,
    worst_index,
)
from medseg.reporting.section_picture import Contour, Frame, draw_section
from medseg.reporting.window import Window, choose_window, color_picture, is_color

Indices = NDArray[np.int16]
SIDES = {"R": "right", "L": "left", "A": "front", "P": "back", "S": "head", "I": "feet"}
TILT_DEGREES = 5.0
"""From this angle on, a caption says that the letters are the nearest directions."""
MARGIN_MM, SMALLEST_MM = 15.0, 60.0
"""Around the structures in a close-up, and the least width of one (px for photographs)."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All that the pictures of a case are drawn from."""

    case: str
    image: Volume
    pred: Indices
    label: Indices | None
    structures: tuple[Structure, ...]
    """What is outlined."""
    referenced: frozenset[str]
    """Names of the structures whose reference is drawn."""
    modality: str

    @property
    def grid(self) -> Grid:
        """Grid of the image."""
        return self.image.grid


def draw_case(scene: Scene, folder: Path) -> tuple[Picture, ...]:
    """Draw a case: each plane where the structures are largest, then where the masks differ most.

    Parameters
    ----------
    scene : Scene
        Image, prediction and reference on the canonical grid.
    folder : Path
        Where the PNG files are written.
    """
    window = choose_window(scene.image.data, scene.modality)
    box = _foreground_box(scene)
    either = [_either(scene, s, box) for s in scene.structures]
    views = views_of(scene.grid.ndim)
    pictures = [
        _draw(scene, view, _index(view, box, clearest_index, either), window, folder, close=False)
        for view in views
    ]
    differing = [_differing(scene, s, box) for s in scene.structures if s.name in scene.referenced]
    if scene.grid.ndim == 3 and any(mask.any() for mask in differing):
        pictures += [
            _draw(
                scene, view, _index(view, box, worst_index, differing), window, folder, close=True
            )
            for view in views
        ]
    return tuple(pictures)


def _foreground_box(scene: Scene) -> tuple[slice, ...]:
    """Return the box around all labels of prediction and reference; the whole scan if none."""
    found = scene.pred > 0
    if scene.label is not None:
        found |= scene.label > 0
    boxes = ndimage.find_objects(found.view(np.uint8), max_label=1)
    box: tuple[slice, ...] = boxes[0] or tuple(slice(0, n) for n in scene.grid.shape)
    return box


def _either(scene: Scene, structure: Structure, box: tuple[slice, ...]) -> NDArray[np.bool_]:
    """Return where the prediction or the reference shows a structure, within a box."""
    mask = structure_mask(scene.pred[box], structure)
    if scene.label is not None and structure.name in scene.referenced:
        mask |= structure_mask(scene.label[box], structure)
    return mask


def _differing(scene: Scene, structure: Structure, box: tuple[slice, ...]) -> NDArray[np.bool_]:
    """Return where prediction and reference differ, ignored voxels left out, within a box."""
    if scene.label is None:
        return np.zeros((1,) * scene.pred.ndim, dtype=np.bool_)
    label = scene.label[box]
    differs = structure_mask(scene.pred[box], structure) ^ structure_mask(label, structure)
    differs &= label != IGNORE_INDEX
    return differs


def _index(
    view: View,
    box: tuple[slice, ...],
    choose: Callable[[Sequence[NDArray[np.bool_]], int], int],
    masks: Sequence[NDArray[np.bool_]],
) -> int:
    """Choose a slice within the box and return its position in the volume."""
    return 0 if view.axis is None else int(box[view.axis].start) + choose(masks, view.axis)


def _draw(
    scene: Scene, view: View, index: int, window: Window, folder: Path, *, close: bool
) -> Picture:
    """Draw one slice and describe it."""
    contours = _contours(scene, view, index)
    picture, low, high = _grey_values(scene, view, index, window)
    pixel = pixel_size(scene.grid, view)
    if close:
        rows, cols = _close_up([c.mask for c in contours], pixel)
        picture = picture[rows, cols]
        contours = [replace(c, mask=c.mask[rows, cols]) for c in contours]
    unit = "mm" if scene.grid.ndim == 3 else "px"
    frame = Frame(pixel=pixel, letters=view.letters, unit=unit)
    file = f"{view.name}{'_difference' if close else ''}.png"
    (folder / file).write_bytes(draw_section(picture, contours, frame, low, high))
    title, caption, alt = _describe(scene, view, index, window, close=close)
    group: PictureGroup = "difference" if close else "largest"
    return Picture(file=file, title=title, caption=caption, alt=alt, group=group)


def _contours(scene: Scene, view: View, index: int) -> list[Contour]:
    """Outline every structure on a slice: predictions solid, references dashed on top."""
    found = []
    sources = ((scene.pred, False), (scene.label, True))
    for indices, dashed in sources:
        if indices is None:
            continue
        cut = section(indices, view, index)
        for structure in scene.structures:
            if not dashed or structure.name in scene.referenced:
                mask = structure_mask(cut, structure)
                found.append(Contour(mask=mask, color=structure.color, dashed=dashed))
    return found


def _grey_values(
    scene: Scene, view: View, index: int, window: Window
) -> tuple[NDArray[Any], float, float]:
    """Cut the image; colour photographs keep their colours."""
    if is_color(scene.image.data):
        return color_picture(scene.image.data), 0.0, 1.0
    return section(scene.image.data[0], view, index), window.low, window.high


def _close_up(
    masks: Sequence[NDArray[np.bool_]], pixel: tuple[float, float]
) -> tuple[slice, slice]:
    """Return the rows and columns around the structures of a slice, with a margin."""
    hit = np.any(masks, axis=0)
    sides = []
    for axis, size in ((0, pixel[1]), (1, pixel[0])):
        where = np.flatnonzero(hit.any(axis=1 - axis))
        middle = (where[0] + where[-1] + 1) / 2
        extent = max((where[-1] + 1 - where[0]) * size + 2 * MARGIN_MM, SMALLEST_MM)
        half = extent / 2 / size
        start, stop = max(0, round(middle - half)), min(hit.shape[axis], round(middle + half))
        sides.append(slice(start, max(stop, start + 1)))
    return sides[0], sides[1]


def _describe(
    scene: Scene, view: View, index: int, window: Window, *, close: bool
) -> tuple[str, str, str]:
    """Return title, caption and alternative text of a picture."""
    names = ", ".join(s.name for s in scene.structures)
    drawn = f"outlines of {names}: prediction solid"
    if scene.label is not None and scene.referenced:
        drawn += ", reference dashed"
    if view.axis is None:
        return "Image", f"{scene.case}.", f"Image of case {scene.case} with {drawn}."
    count = scene.grid.shape[view.axis]
    left, right, top, bottom = (SIDES[letter] for letter in view.letters)
    place = f"slice {index + 1} of {count}"
    title = f"{view.name.capitalize()}, {place}"
    caption = f"{left.capitalize()} of the patient on the left, {top} at the top; {window.text}."
    tilt = tilt_degrees(scene.grid)
    if tilt >= TILT_DEGREES:
        caption += f" The scan is tilted by {tilt:.0f}°; the letters name the nearest direction."
    why = "where prediction and reference differ most" if close else "through the structures"
    alt = (
        f"{view.name.capitalize()} {place} of case {scene.case}, {why}, with {drawn}; the "
        f"patient's {left} is on the left, {right} on the right, {top} at the top, {bottom} below."
    )
    return title, caption, alt
