"""Run folders with a hand-made metrics.csv, and what `medseg compare` made of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.pipelines.cli import main

A = (0.91, 0.88, 0.75, 0.93, 0.60, 0.85, 0.79, 0.90)
B = (0.90, 0.90, 0.81, 0.94, 0.72, 0.86, 0.83, 0.92)
"""The example of two methods on eight cases whose mean difference is .03375."""


def write(
    name: str,
    columns: Mapping[str, Sequence[object]],
    *,
    cases: Sequence[str] = (),
    split: str = "test",
    label: str = "liver",
    place: str = "report/metrics.csv",
) -> Path:
    """Write a run folder with one row per case; None is an empty cell."""
    file = Path(name) / place
    file.parent.mkdir(parents=True, exist_ok=True)
    count = len(next(iter(columns.values())))
    ids = cases or [f"c{i}" for i in range(count)]
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", "label", "split", "fold", "status", *columns])
        for i in range(count):
            cells = ["" if v[i] is None else v[i] for v in columns.values()]
            writer.writerow([ids[i], label, split, "", "ok", *cells])
    return Path(name)


def compare(*arguments: object) -> int:
    return main(["compare", *map(str, arguments)])


def table(out: str = "comparison") -> dict[tuple[str, str, str], dict[str, str]]:
    with (Path(out) / "comparison.csv").open() as stream:
        return {(r["second"], r["label"], r["metric"]): r for r in csv.DictReader(stream)}


def document(out: str = "comparison") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(out) / "comparison.json").read_text())
    return found


def name_patients(run: Path, patients: Mapping[str, str]) -> None:
    """Add the column ``patient`` to the table of a run folder that `write` made."""
    file = run / "report" / "metrics.csv"
    rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*rows[0], "patient"])
        writer.writerows([*row, patients.get(row[0], "")] for row in rows[1:])
