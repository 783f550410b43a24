"""Shapes that people drew, painted into one mask."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import FormatError
from medseg.io.raster import Shape2D
from medseg.label_map import BACKGROUND, IGNORE

IGNORED = -1
"""Value of a pixel that the annotation itself says not to count (crowds, overlaps)."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """An annotation as one whole number per pixel, and what the numbers are called."""

    values: NDArray[Any]
    """Integer (rows, cols)."""
    names: Mapping[int, str] | None = None
    """Name of each value; None: the values are to be looked up in the label map or table."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One structure of one image."""

    name: str
    mask: NDArray[np.bool_]


def paint(shapes: Sequence[Drawn], shape: Shape2D, *, overlap: str = "last") -> Decoded:
    """Paint shapes into one mask.

    Parameters
    ----------
    shapes : sequence of Drawn
    shape : (int, int)
        Rows and columns.
    overlap : {"last", "smaller", "ignore"}
        Who owns a pixel that shapes of several names claim: the one drawn last, the smaller one,
        or nobody.

    Returns
    -------
    Decoded
        0 where nothing was drawn.
    """
    names = list(dict.fromkeys(one.name for one in shapes))
    code = {name: i for i, name in enumerate(names, start=1)}
    values = np.zeros(shape, dtype=np.int32)
    twice = np.zeros(shape, dtype=bool)
    order = sorted(shapes, key=lambda one: -int(one.mask.sum())) if overlap != "last" else shapes
    for one in order:
        twice |= one.mask & (values != 0) & (values != code[one.name])
        values[one.mask] = code[one.name]
    if overlap == "ignore":
        values[twice] = IGNORED
    known = {0: BACKGROUND, IGNORED: IGNORE} | {number: name for name, number in code.items()}
    return Decoded(values=values, names=known)


def read_json(path: Path) -> Any:
    """Read a JSON file; the last two are kept, since one file may annotate a whole data set.

    Raises
    ------
    FormatError
        If it is not there or is not JSON.
    """
    return parsed(state_of(path))


@dataclass(frozen=True)
class FileState:
    """A file as it stands now; what is kept of it is good for this state alone."""

    path: Path
    mtime_ns: int
    size: int


def state_of(path: Path) -> FileState:
    """Return the state of a file.

    Raises
    ------
    FormatError
        If it is not there.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise FormatError(f"{path}: no such file", "mend the path in the manifest") from error
    return FileState(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def parsed(state: FileState) -> Any:
    """Parse a JSON file, once."""
    try:
        return json.loads(state.path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FormatError(
            f"{state.path}: not JSON ({error})", "copy the file from its source again"
        ) from error


def entry(record: Any, path: Path, *keys: str) -> Any:
    """Return ``record[keys[0]][keys[1]]...``, or say which of them is missing."""
    for depth, key in enumerate(keys):
        if not isinstance(record, Mapping) or key not in record:
            raise FormatError(
                f"{path}: '{'.'.join(keys[: depth + 1])}' is missing",
                "export the annotation again, or set the right 'encoding' in the options",
            )
        record = record[key]
    return record


def check_size(path: Path, stated: Iterable[Any], shape: Shape2D) -> None:
    """Refuse an annotation that was drawn on an image of another size (rows, cols)."""
    rows_cols = tuple(int(n) for n in stated)
    if rows_cols != tuple(shape):
        raise FormatError(
            f"{path}: drawn on {rows_cols[1]} x {rows_cols[0]} pixels, the image has "
            f"{shape[1]} x {shape[0]}",
            "annotate the image itself, or exclude the case",
        )
