"""Look into images and labels: values, dimensions, channels, and a guess at the modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from medseg.case import Case, ImageFile, LabelPart
from medseg.errors import FormatError, ManifestError
from medseg.io.picture import read_mask
from medseg.io.volumes import read_volume
from medseg.readers.common import PICTURE_ENDINGS, ending, some

T = TypeVar("T")

ENOUGH = 20
"""Label files that are read of a large data set."""
SMALL_BYTES = 200_000_000
"""Label files that together are smaller than this are all read."""
MOST_VALUES = 256
"""A file with more different values than this holds no labels."""
AIR_HU = -500


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a look into the files shows."""

    annotated: int
    unlabelled: int
    ndim: int
    channels: int
    modality: str
    """CT where values reach air in Hounsfield units, ``photo`` for images, else unknown."""
    values: tuple[int, ...]
    """Label values that occur, without 0."""
    files_read: int
    files: int
    picture: bool
    short_side: int = 0
    """Of photographs: px of the shorter side, median over some of them; 0 for volumes."""


def survey(cases: Sequence[Case]) -> Survey:
    """Look into the first sound image and into the labels (all where they are small, else 20).

    Raises
    ------
    ManifestError
        If no case is annotated, or a label file cannot be read or holds no labels.
    """
    annotated = [case for case in cases if case.label]
    if not annotated:
        raise ManifestError("no case has an annotation; add labels, or use 'medseg predict'")
    first, ndim, channels, lowest = _first_look(annotated)
    picture = first[0].path.is_file() and ending(first[0].path) in PICTURE_ENDINGS
    parts = [part for case in annotated for part in case.label]
    files = [part for part in parts if part.select is None and part.segments is None]
    chosen = _some_files(files)
    values = sorted({value for part in chosen for value in label_values(part.path)})
    modality = "CT" if lowest <= AIR_HU else "unknown"
    return Survey(
        annotated=len(annotated),
        unlabelled=len(cases) - len(annotated),
        ndim=ndim,
        channels=channels,
        modality="photo" if picture else modality,
        values=tuple(value for value in values if value != 0),
        files_read=len(chosen),
        files=len(files),
        picture=picture,
        short_side=_short_side(annotated) if picture else 0,
    )


def _first_look(cases: Sequence[Case]) -> tuple[Sequence[ImageFile], int, int, float]:
    """Look into the first case that can be read; a damaged one is set aside by a run."""
    damages = []
    for case in cases[:ENOUGH]:
        try:
            return case.image, *_look(case.image)
        except ManifestError as error:
            damages.append(error)
    raise damages[0]


def _look(files: Sequence[ImageFile]) -> tuple[int, int, float]:
    """Return dimensions, channels and the lowest value of a case."""
    volumes = [_read(file.path, file.series) for file in files]
    lowest = min(float(np.nanmin(volume)) for volume in volumes)
    return volumes[0].ndim - 1, sum(len(volume) for volume in volumes), lowest


def _short_side(cases: Sequence[Case]) -> int:
    """Return the median shorter side of some photographs, from their headers."""
    from PIL import Image, UnidentifiedImageError

    sides = []
    for case in _evenly(cases):
        path = case.image[0].path
        try:
            with Image.open(path) as image:
                sides.append(min(image.size))
        except (OSError, UnidentifiedImageError) as error:
            raise ManifestError(
                f"{path}: cannot be read as an image ({error}); copy it from its source again"
            ) from error
    return int(np.median(sides))


def _read(path: Path, series: str | None = None) -> np.ndarray:
    """Read the voxels of a file (C, *spatial)."""
    try:
        return read_volume(path, series).data
    except FormatError as error:
        raise ManifestError(f"{error.what}; {error.mend}") from error


def _some_files(files: Sequence[LabelPart]) -> Sequence[LabelPart]:
    """Return all files where they are small, else some, evenly spread."""
    size = sum(part.path.stat().st_size for part in files)
    return files if size <= SMALL_BYTES else _evenly(files)


def _evenly(items: Sequence[T]) -> Sequence[T]:
    """Return all of a few, else `ENOUGH` that are evenly spread."""
    if len(items) <= ENOUGH:
        return items
    picks = np.linspace(0, len(items) - 1, ENOUGH).round().astype(int)
    return [items[i] for i in sorted(set(picks.tolist()))]


def label_values(path: Path) -> set[int]:
    """Return the values of a label file, 0 included.

    Raises
    ------
    ManifestError
        If it cannot be read, or its values are not those of labels.
    """
    try:
        single = path.is_file() and ending(path) in PICTURE_ENDINGS
        found = np.unique(read_mask(path) if single else read_volume(path).data)
    except FormatError as error:
        raise ManifestError(f"{error.what}; {error.mend}") from error
    if len(found) > MOST_VALUES or not np.all(found == np.rint(found)) or found.min() < 0:
        raise ManifestError(
            f"{path}: does not look like labels ({len(found)} different values from {found.min():g}"
            f" to {found.max():g}); if the images and labels were taken for each other, write the "
            "manifest with reader 'pairs' or 'table'"
        )
    return {int(value) for value in found}


def holds_labels(files: Sequence[Path]) -> bool:
    """Tell from the values of up to three files whether a folder holds labels."""
    for path in files[:3]:
        try:
            values = label_values(path)
        except ManifestError:
            return False
        if len(values) > 64:
            return False
    return True


def many_read(found: Survey) -> str:
    """Say how many label files were looked into."""
    if found.files == 0:
        return "masks, any value but 0 counts"
    if found.files_read == found.files:
        return f"values {some(found.values)} in all {found.files} label files"
    return f"values {some(found.values)} in {found.files_read} of {found.files} label files"
