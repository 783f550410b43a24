"""Read a CSV of cases into mappings with the keys of `medseg.readers.table.Row`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medseg.errors import ManifestError
from medseg.manifest import Manifest
from medseg.registry import nearest

PLAIN = ("group", "split", "fold")


def read_rows(
    path: Path, manifest: Manifest, columns: Mapping[str, str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, values) for each row that is not blank.

    Parameters
    ----------
    path : Path
        UTF-8, with a header line; separated by comma, semicolon or tab.
    manifest : Manifest
        Names the channels and the structures that columns may be for.
    columns : mapping
        Our name of a column to the file's.

    Raises
    ------
    ManifestError
        If columns are missing or a cell cannot be read.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        separator = max(",;\t", key=head.count)
        file.seek(0)
        reader = csv.DictReader(file, delimiter=separator, skipinitialspace=True)
        header = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        names = {key: columns.get(key, key) for key in _keys(manifest)}
        _check_columns(path, header, names, columns, manifest)
        for row in reader:
            cells = {key: (row.get(name) or "").strip() for key, name in names.items()}
            if any(cells.values()):
                yield reader.line_num, _values(cells, manifest, f"{path}:{reader.line_num}")


def _keys(manifest: Manifest) -> list[str]:
    """List every column a table may have."""
    return [
        "id",
        "image",
        *(f"image_{channel.name}" for channel in manifest.channels),
        "label",
        *(f"label_{label.name}" for label in manifest.labels),
        "select",
        "annotated",
        *PLAIN,
    ]


def _check_columns(
    path: Path,
    header: list[str],
    names: Mapping[str, str],
    columns: Mapping[str, str],
    manifest: Manifest,
) -> None:
    """Name every column that is due and not there."""
    problems = [
        f"columns: '{key}' is no column of a table; {nearest(key, names)}"
        for key in columns
        if key not in names
    ]
    wanted = [*columns.values(), names["id"]]
    channels = [names[f"image_{channel.name}"] for channel in manifest.channels]
    if names["image"] not in header:
        wanted += channels if any(name in header for name in channels) else [names["image"]]
    problems += [
        f"no column '{name}'; {nearest(name, header)}"
        for name in dict.fromkeys(wanted)
        if name not in header
    ]
    if problems:
        raise ManifestError(
            "\n".join(f"{path}:1: {problem}" for problem in problems)
            + "\nname the columns of this file with 'columns' in the manifest's options"
        )


def _values(cells: Mapping[str, str], manifest: Manifest, where: str) -> dict[str, Any]:
    """Turn the cells of one row into the values of a `Row`; empty cells are left out."""
    values: dict[str, Any] = {key: cells[key] for key in ("id", *PLAIN) if cells[key]}
    images = cells["image"].split("|") if cells["image"] else []
    images += [cells[f"image_{c.name}"] for c in manifest.channels if cells[f"image_{c.name}"]]
    if not images:
        raise ManifestError(f"{where}: no image in this row; give one or delete the row")
    values["image"] = tuple(image.strip() for image in images)
    masks = {label.name: cells[f"label_{label.name}"] for label in manifest.labels}
    masks = {name: path for name, path in masks.items() if path}
    if masks:
        values["label"] = masks
    elif cells["label"]:
        values["label"] = tuple(part.strip() for part in cells["label"].split("|"))
    if cells["annotated"]:
        values["annotated"] = tuple(name.strip() for name in cells["annotated"].split("|"))
    if cells["select"]:
        values["select"] = dict(_selection(part, where) for part in cells["select"].split("|"))
    return values


def _selection(text: str, where: str) -> tuple[str, tuple[int, ...]]:
    """Read ``liver=5 6``."""
    match = re.fullmatch(r"\s*(.+?)\s*=\s*(\d+(?:[\s,]+\d+)*)\s*", text)
    if match is None:
        raise ManifestError(f"{where}: select: '{text}' is not like 'liver=5' or 'liver=5 6'")
    return match[1], tuple(int(value) for value in re.split(r"[\s,]+", match[2]))
