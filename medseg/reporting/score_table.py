"""Read a metrics.csv back: the scores of one run, by split, label and case."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.errors import ConfigError
from medseg.trained import Score

KEYS = ("case", "label", "split")
TEXT = frozenset({*KEYS, "fold", "status", "patient"})
"""Columns that hold no number."""

Key = tuple[str, str]
"""Label and case."""


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """What one run scored."""

    name: str
    columns: tuple[str, ...]
    """Columns that hold numbers."""
    splits: Mapping[str, Mapping[Key, Mapping[str, float]]]
    """Split to (label, case) to column to value; NaN where the cell is empty."""
    patients: Mapping[str, str] = field(default_factory=dict)
    """Case to patient, where the table names one."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the summary.json beside the table says of the data set; empty without one."""
    score: Score = "dice"
    """What decides, as that file has it."""
    set_miou: Mapping[str, float] = field(default_factory=dict)
    """Of photographs: split to the mIoU over all its pixels."""


def read_score_table(file: Path, name: str) -> ScoreTable:
    """Read a metrics.csv, and the description of the data in the summary.json beside it.

    Parameters
    ----------
    file : Path
        CSV with the columns case, label and split, then numbers; ``inf`` is infinite, an empty
        cell is not defined.
    name : str
        What the run is called in messages and reports.

    Raises
    ------
    ConfigError
        If the file cannot be read, lacks a column, holds no row, a cell that is no number, or a
        case twice.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = list(reader.fieldnames or [])
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{name}: {file} cannot be read ({error}); write the report anew") from (
            error
        )
    absent = [key for key in KEYS if key not in header]
    if absent:
        raise ConfigError(
            f"{name}: {file} has no column {', '.join(absent)}; it should be a metrics.csv as "
            "'medseg run' and 'medseg evaluate' write it"
        )
    if not rows:
        raise ConfigError(f"{name}: {file} has no scored case; has the run a case with reference?")
    columns = tuple(column for column in header if column not in TEXT)
    splits: dict[str, dict[Key, Mapping[str, float]]] = {}
    patients: dict[str, str] = {}
    for line, row in rows:
        place = f"{name}: {file}:{line}"
        found = splits.setdefault(row["split"], {})
        key = (row["label"], row["case"])
        if key in found:
            raise ConfigError(
                f"{place}: case {key[1]}, label {key[0]} stands twice in split {row['split']}; "
                "leave one row"
            )
        found[key] = {column: _value(row[column], column, place) for column in columns}
        patient = (row.get("patient") or "").strip()
        if patient and patients.setdefault(key[1], patient) != patient:
            raise ConfigError(
                f"{place}: case {key[1]} is of two patients ({patients[key[1]]}, {patient}); "
                "correct the column patient"
            )
    summary = _summary(file)
    data, pixels = _part(summary, "data"), _part(summary, "pixels")
    by_split = {"validation": _part(pixels, "validation"), str(summary.get("headline")): pixels}
    return ScoreTable(
        name=name,
        columns=columns,
        splits=splits,
        patients=patients,
        data=data,
        # reports of earlier versions do not say what decides: photographs are judged by mIoU
        score="miou" if summary.get("score", "miou" if pixels else "dice") == "miou" else "dice",
        set_miou={
            split: float(one["miou"])
            for split, one in by_split.items()
            if isinstance(one.get("miou"), int | float)
        },
    )


def choose_split(tables: Sequence[ScoreTable], asked: str | None = None) -> str:
    """Return the split to compare: the one asked for, else test, else validation.

    Raises
    ------
    ConfigError
        If a run has no case of it.
    """
    for split in [asked] if asked else ["test", "validation"]:
        if all(split in table.splits for table in tables):
            return split
    have = "; ".join(f"{table.name} has {', '.join(sorted(table.splits))}" for table in tables)
    wanted = f"split '{asked}'" if asked else "split test or validation"
    raise ConfigError(f"not every run has cases of {wanted}: {have}; compare runs that share one")


def _value(text: str | None, column: str, place: str) -> float:
    """Read a cell."""
    if text is None or not text.strip():
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            f"{place}, column {column}: '{text}' is no number; write a number, inf, or nothing"
        ) from None


def _summary(file: Path) -> dict[str, Any]:
    """Return the summary.json beside a table; a table from another tool has none."""
    found = None
    with suppress(FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        found = json.loads(file.with_name("summary.json").read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _part(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a mapping within a document; an empty one where it is something else."""
    found = document.get(key)
    return found if isinstance(found, dict) else {}
