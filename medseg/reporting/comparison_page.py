"""Write a comparison: a page to read, a table and JSON for programs."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import medseg
from medseg.artefacts import DataInfo
from medseg.metrics.bootstrap import DRAWS, SEED
from medseg.reporting import comparison_scatter as scatter
from medseg.reporting.comparison import METRICS, Comparison, Row
from medseg.reporting.comparison_words import p_cell, signed, verdict
from medseg.reporting.render import About, render
from medseg.reporting.tables import write_json

PAGE, TABLE, DOCUMENT = "comparison.html", "comparison.csv", "comparison.json"


def write_comparison(
    folder: Path, comparison: Comparison, data: Sequence[Mapping[str, Any]]
) -> tuple[Path, ...]:
    """Write page, table and JSON into a folder that exists.

    Parameters
    ----------
    folder : Path
    comparison : Comparison
    data : sequence of mapping
        What the reports of the runs say of their data sets, for the footer.
    """
    rows = [as_entry(row) for row in comparison.rows]
    page, table, document = (folder / name for name in (PAGE, TABLE, DOCUMENT))
    with table.open("w", newline="", encoding="utf-8") as stream:
        columns = [c for c in (rows[0] if rows else {}) if c != "dropped_cases"]
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    write_json(
        document,
        {
            "runs": comparison.runs,
            "split": comparison.split,
            "score": comparison.score,
            "set_miou": comparison.set_miou,
            "cases": comparison.cases,
            "patients": comparison.patients,
            "tests": comparison.tests,
            "comparisons": rows,
            "mean_ranks": comparison.ranks,
            "mean_ranks_by_metric": comparison.metric_ranks,
            "missing": [vars(one) for one in comparison.missing],
            "warnings": comparison.warnings,
            "rules": {
                "difference": "second minus first; relative volume errors without their sign",
                "interval": f"95 %, percentile bootstrap over patients, {DRAWS} draws, seed {SEED}",
                "patients": "differences of one patient are averaged first, where known",
                "p": "Wilcoxon signed-rank, two-sided; p_holm: Holm over all rows",
                "null": "not defined, or infinite",
            },
        },
    )
    page.write_text(render_comparison(comparison, data), encoding="utf-8")
    return page, table, document


def render_comparison(comparison: Comparison, data: Sequence[Mapping[str, Any]]) -> str:
    """Fill the page."""
    plots, left_out = scatter.panels(comparison)
    return render(
        "comparison.html.j2",
        about=_about(comparison, data),
        comparison=comparison,
        metrics=METRICS,
        panels=plots,
        panels_left_out=left_out,
        frame=scatter,
        verdict=verdict,
        signed=signed,
        p_cell=p_cell,
    )


def as_entry(row: Row) -> dict[str, Any]:
    """Lay out one comparison flat, as the table and the JSON have it."""
    one = row.paired
    return {
        "first": row.first,
        "second": row.second,
        "label": row.label,
        "metric": row.metric,
        "n": one.n,
        "mean_difference": row.mean_difference,
        "mean_low": row.mean_low,
        "mean_high": row.mean_high,
        "median_difference": one.median_difference,
        "median_low": one.low,
        "median_high": one.high,
        "wilcoxon_w": one.statistic,
        "p": one.p,
        "p_holm": one.p_holm,
        "second_better": row.wins,
        "first_better": row.losses,
        "equal": row.ties,
        "dropped": len(one.dropped),
        "verdict": verdict(row),
        "dropped_cases": one.dropped,
    }


def _about(comparison: Comparison, data: Sequence[Mapping[str, Any]]) -> About:
    """Return the footer: one made of generated data is SYNTHETIC."""

    def joined(key: str) -> str:
        return ", ".join(dict.fromkeys(str(one[key]) for one in data if one.get(key)))

    origins = {one.get("origin") for one in data}
    info = DataInfo(
        name=joined("name") or f"split {comparison.split}",
        title=" against ".join(comparison.runs),
        modality=joined("modality") or "unknown",
        channels=(),
        origin="SYNTHETIC"
        if "SYNTHETIC" in origins
        else "real"
        if origins == {"real"}
        else "unknown",
        licence=joined("licence") or "unknown",
        citation=joined("citation"),
        digest=joined("digest"),
    )
    return About(model="", version=medseg.__version__, info=info, made=date.today().isoformat())


def _cell(value: Any) -> Any:
    """Write a cell: what is not defined is empty."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.10g}"
    return value
