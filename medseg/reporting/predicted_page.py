"""The list of cases that a model predicted, none of which has a reference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.artefacts import SetAside
from medseg.reporting.render import About, render


@dataclass(frozen=True, kw_only=True)
class PredictedRow:
    """One structure of one case, as the list shows it."""

    case: str
    structure: str
    size: float
    unit: str
    components: int
    flags: int
    """What is to be checked in the whole case."""


def read_rows(cases: Path) -> list[PredictedRow]:
    """Read the JSON files of the case pages in a folder, in name order.

    Parameters
    ----------
    cases : Path
        Holds ``<case>.json`` as `medseg.reporting.tables.write_case_json` writes it.
    """
    rows = []
    for file in sorted(cases.glob("*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        unit = "mm" if "spacing_mm" in found else "px"
        rows += [
            PredictedRow(
                case=found["case"],
                structure=one["label"],
                size=one["volume_ml" if unit == "mm" else "volume_px"],
                unit=unit,
                components=one["components"],
                flags=len(found["flags"]),
            )
            for one in found["structures"]
        ]
    return rows


def render_predicted_page(cases: Path, about: About, set_aside: Sequence[SetAside]) -> str:
    """Return the list as one HTML document that needs no other file.

    Parameters
    ----------
    cases : Path
        Folder of the case pages; the list links to them as ``cases/<case>.html``.
    about : About
        For the footer.
    set_aside : sequence of SetAside
        What could not be predicted.
    """
    rows = read_rows(cases)
    return render(
        "predicted.html.j2",
        about=about,
        rows=rows,
        count=len({row.case for row in rows}),
        unit=rows[0].unit if rows else "mm",
        set_aside=set_aside,
    )
