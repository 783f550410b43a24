"""Annotation tools that write outlines with names: LabelMe, VIA, DeepFashion2."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medseg.errors import FormatError
from medseg.io.drawn import Decoded, Drawn, check_size, entry, paint, read_json
from medseg.io.raster import Shape2D, fill_ellipse, fill_polygons

CLASS_KEYS = ("class", "label", "name", "type", "category")
"""Attributes of a VIA region that say what it is, in the order of trying."""


def labelme(path: Path, shape: Shape2D) -> Decoded:
    """Rasterise a LabelMe file: polygons, rectangles, circles and masks; later ones on top.

    Raises
    ------
    FormatError
        If it was drawn on an image of another size, or a shape has no area (points, lines).
    """
    content = read_json(path)
    rows, cols = entry(content, path, "imageHeight"), entry(content, path, "imageWidth")
    check_size(path, (rows, cols), shape)
    drawn = [
        Drawn(name=str(entry(one, path, "label")), mask=_labelme_mask(one, shape, path))
        for one in entry(content, path, "shapes")
    ]
    return paint(drawn, shape)


def via(path: Path, item: str, shape: Shape2D) -> Decoded:
    """Rasterise the regions of one image of a VGG Image Annotator file; later ones on top.

    Parameters
    ----------
    path : Path
        JSON annotations, or a saved project.
    item : str
        ``filename`` of the image.
    shape : (int, int)
        Rows and columns of the image.

    Raises
    ------
    FormatError
        If the image is not there, or a region has no area or no class.
    """
    records = {one["filename"]: one for one in via_images(path)}
    if item not in records:
        raise FormatError(f"{path}: annotates no image '{item}'", "add it, or exclude the case")
    regions = records[item].get("regions") or []
    listed = regions.values() if isinstance(regions, Mapping) else regions  # VIA 1 numbers them
    drawn = [
        Drawn(
            name=_via_class(entry(one, path, "region_attributes"), path),
            mask=_via_mask(entry(one, path, "shape_attributes"), shape, path),
        )
        for one in listed
    ]
    return paint(drawn, shape)


def via_images(path: Path) -> list[Mapping[str, Any]]:
    """List the records of a VIA file, one for each image."""
    content = read_json(path)
    records = content.get("_via_img_metadata", content)
    return [one for one in records.values() if isinstance(one, Mapping) and "filename" in one]


def deepfashion2(path: Path, shape: Shape2D) -> Decoded:
    """Rasterise the garments of a DeepFashion2 file; a smaller one lies on a larger one."""
    content = read_json(path)
    items = [value for key, value in sorted(content.items()) if key.startswith("item")]
    drawn = []
    for one in items:
        polygons = entry(one, path, "segmentation")
        mask = np.zeros(shape, dtype=bool)
        for polygon in polygons:
            mask |= fill_polygons([polygon], shape)
        drawn.append(Drawn(name=str(entry(one, path, "category_name")), mask=mask))
    return paint(drawn, shape, overlap="smaller")


def _labelme_mask(one: Mapping[str, Any], shape: Shape2D, path: Path) -> NDArray[np.bool_]:
    """Rasterise one LabelMe shape."""
    kind = one.get("shape_type") or "polygon"
    points = np.asarray(entry(one, path, "points"), dtype=np.float64).reshape(-1, 2)
    if kind == "polygon":
        return fill_polygons([points], shape)
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points.tolist()
        return _box(x0, y0, x1, y1, shape)
    if kind == "circle" and len(points) == 2:
        radius = math.dist(points[0], points[1])
        return fill_ellipse((points[0, 0], points[0, 1]), (radius, radius), shape)
    if kind == "mask" and one.get("mask"):
        with Image.open(io.BytesIO(base64.b64decode(one["mask"]))) as image:
            patch = np.asarray(image) > 0
        mask = np.zeros(shape, dtype=bool)
        left, top = (int(n) for n in points[0])
        target = mask[top : top + patch.shape[0], left : left + patch.shape[1]]
        target |= patch[: target.shape[0], : target.shape[1]]
        return mask
    raise _no_area(path, kind)


def _via_mask(one: Mapping[str, Any], shape: Shape2D, path: Path) -> NDArray[np.bool_]:
    """Rasterise one VIA region."""
    kind = str(entry(one, path, "name"))
    if kind == "polygon":
        return fill_polygons([np.stack([one["all_points_x"], one["all_points_y"]], axis=1)], shape)
    if kind == "rect":
        x, y = float(one["x"]), float(one["y"])
        return _box(x, y, x + float(one["width"]), y + float(one["height"]), shape)
    if kind in ("circle", "ellipse"):
        radii = (one["r"], one["r"]) if kind == "circle" else (one["rx"], one["ry"])
        centre = (float(one["cx"]), float(one["cy"]))
        return fill_ellipse(centre, (float(radii[0]), float(radii[1])), shape)
    raise _no_area(path, kind)


def _via_class(attributes: Mapping[str, Any], path: Path) -> str:
    """Find the class among a region's attributes."""
    chosen = next((attributes[key] for key in CLASS_KEYS if attributes.get(key)), None)
    if chosen is None and len(attributes) == 1:
        chosen = next(iter(attributes.values()))
    if isinstance(chosen, Mapping):  # checkboxes: {"cat": true}
        ticked = [name for name, on in chosen.items() if on]
        chosen = ticked[0] if len(ticked) == 1 else None
    if not chosen:
        raise FormatError(
            f"{path}: a region says its class in none of {', '.join(CLASS_KEYS)} (its attributes: "
            f"{', '.join(attributes) or 'none'})",
            "name the attribute 'class' in the annotation tool and export again",
        )
    return str(chosen)


def _box(x0: float, y0: float, x1: float, y1: float, shape: Shape2D) -> NDArray[np.bool_]:
    return fill_polygons([[(x0, y0), (x1, y0), (x1, y1), (x0, y1)]], shape)


def _no_area(path: Path, kind: str) -> FormatError:
    return FormatError(
        f"{path}: a shape of type '{kind}' has no area",
        "draw polygons, rectangles or circles, or delete it",
    )
