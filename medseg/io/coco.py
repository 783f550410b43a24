"""COCO's JSON: instances, stuff and panoptic segments, as masks of category names."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import FormatError
from medseg.io.drawn import (
    IGNORED,
    Decoded,
    Drawn,
    FileState,
    check_size,
    entry,
    paint,
    parsed,
    read_json,
    state_of,
)
from medseg.io.encodings import panoptic_ids
from medseg.io.raster import Shape2D, fill_polygons, mask_of_runs, runs_of_text
from medseg.label_map import IGNORE

Record = dict[str, Any]


def instances(path: Path, item: str, shape: Shape2D, *, painted: bool = False) -> Decoded:
    """Rasterise the annotations of one image.

    Parameters
    ----------
    path : Path
        ``instances_*.json``, ``stuff_*.json``, or any file of this form.
    item : str
        ``file_name`` of the image.
    shape : (int, int)
        Rows and columns of the image.
    painted : bool
        The smaller shape owns an overlap, and crowds belong to their category. Else pixels that
        shapes of several categories claim, and crowds where nothing else is, are ignored.

    Raises
    ------
    FormatError
        If the image is not listed or has another size, or an annotation cannot be read.
    """
    index = _index(state_of(path))
    if item not in index.images:
        raise FormatError(f"{path}: lists no image '{item}'", "add it, or exclude the case")
    image = index.images[item]
    check_size(path, (image["height"], image["width"]), shape)
    names = category_names(path)
    drawn, crowd = [], np.zeros(shape, dtype=bool)
    for record in index.annotations.get(image["id"], ()):
        mask = _mask(record, shape, path)
        if record.get("iscrowd") and not painted:
            crowd |= mask
            continue
        number = record["category_id"]
        if number not in names:
            raise FormatError(
                f"{path}: annotation {record.get('id')} has category_id {number}, which no "
                "category of the file has",
                "export the annotations again",
            )
        drawn.append(Drawn(name=names[number], mask=mask))
    decoded = paint(drawn, shape, overlap="smaller" if painted else "ignore")
    decoded.values[crowd & (decoded.values == 0)] = IGNORED
    return decoded


def panoptic(path: Path, table: Path, shape: Shape2D) -> Decoded:
    """Read a panoptic PNG as categories.

    Parameters
    ----------
    path : Path
        The PNG; its pixels are segment ids, 0 is unlabelled.
    table : Path
        ``panoptic_*.json``, which gives the category of each segment.
    shape : (int, int)
        Rows and columns of the image.

    Returns
    -------
    Decoded
        Category ids with their names; unlabelled pixels and crowds are ignored.

    Raises
    ------
    FormatError
        If the PNG is not listed, or holds a segment that is not.
    """
    ids = panoptic_ids(path)
    check_size(path, ids.shape, shape)
    index = _index(state_of(table))
    if path.name not in index.segments:
        raise FormatError(f"{table}: lists no PNG '{path.name}'", "copy both from the same source")
    segments = {one["id"]: one for one in index.segments[path.name]}
    present, places = np.unique(ids, return_inverse=True)
    absent = [int(one) for one in present if one and one not in segments]
    if absent:
        raise FormatError(
            f"{path}: segments {absent[:8]} are not listed in {table.name}",
            "copy PNG and JSON from the same source",
        )
    category = [
        segments[one]["category_id"] if one and not segments[one].get("iscrowd") else IGNORED
        for one in present.tolist()
    ]
    values = np.asarray(category, dtype=np.int32)[places.reshape(ids.shape)]
    return Decoded(values=values, names=category_names(table) | {IGNORED: IGNORE})


def image_names(path: Path) -> list[str]:
    """List the ``file_name`` of every image of the file."""
    return [str(image["file_name"]) for image in entry(read_json(path), path, "images")]


def category_names(path: Path) -> dict[int, str]:
    """Return the name of each category id."""
    rows = entry(read_json(path), path, "categories")
    return {int(row["id"]): str(row["name"]) for row in rows}


@dataclass(frozen=True, kw_only=True)
class Index:
    """A COCO file by image."""

    images: dict[str, Record]
    """By ``file_name``."""
    annotations: dict[Any, list[Record]]
    """By image id."""
    segments: dict[str, list[Record]]
    """By the PNG's ``file_name``; empty unless panoptic."""


@lru_cache(maxsize=2)
def _index(state: FileState) -> Index:
    """Sort the records of a file by image, once."""
    path, content = state.path, parsed(state)
    groups: dict[Any, list[Record]] = defaultdict(list)
    rows = entry(content, path, "annotations")
    for record in rows:
        groups[record["image_id"]].append(record)
    return Index(
        images={one["file_name"]: one for one in entry(content, path, "images")},
        annotations=groups,
        segments={one["file_name"]: one["segments_info"] for one in rows if "segments_info" in one},
    )


def _mask(record: Record, shape: Shape2D, path: Path) -> NDArray[np.bool_]:
    """Rasterise one annotation: polygons (their union), or run lengths."""
    drawn = record.get("segmentation")
    try:
        if isinstance(drawn, dict):
            check_size(path, drawn["size"], shape)
            counts = drawn["counts"]
            runs = runs_of_text(counts) if isinstance(counts, str) else counts
            return mask_of_runs(runs, shape)
        union = np.zeros(shape, dtype=bool)
        for polygon in drawn or ():
            union |= fill_polygons([polygon], shape)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{path}: the segmentation of annotation {record.get('id')} cannot be read ({error})",
            "export the annotations again",
        ) from error
    return union
