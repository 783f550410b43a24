"""Results over the pixels of a whole set of photographs: one confusion matrix, all from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.metrics.confusion import ConfusionScores, confusion_scores
from medseg.reporting.case_report import CaseReport, Role
from medseg.reporting.figure import data_uri
from medseg.reporting.pixel_charts import confusion_chart, iou_chart
from medseg.reporting.tables import confusion_entry, write_confusion

EXAMPLES = 3
"""Best and worst pictures that are shown."""
PICTURES = ("prediction.png", "reference.png", "errors.png")
PREFIX: Mapping[Role, str] = {"test": "test", "validation": "val"}


@dataclass(frozen=True, kw_only=True)
class PixelResults:
    """The confusion matrix of all photographs of one role, at their own size, void left out."""

    role: Role
    names: tuple[str, ...]
    """Classes; background is left out where no pixel is or was called so."""
    matrix: NDArray[np.int64]
    """(K, K); rows are the truth."""
    images: Mapping[str, float]
    """Case id to its own mIoU."""

    @property
    def scores(self) -> ConfusionScores:
        """All scores of the set."""
        return confusion_scores(self.matrix)

    def ranked(self) -> list[tuple[str, float]]:
        """List the images, the lowest mIoU first; those without any are left out."""
        known = [(name, miou) for name, miou in self.images.items() if not math.isnan(miou)]
        return sorted(known, key=lambda row: row[1])


def pixel_results(
    reports: Sequence[CaseReport], role: Role, names: Sequence[str]
) -> PixelResults | None:
    """Add up the matrices of a role's photographs; None where there is none.

    Parameters
    ----------
    reports : sequence of CaseReport
    role : {"test", "validation"}
    names : sequence of str
        Of the classes, background first.
    """
    found = {
        r.case: np.array(r.confusion, np.int64) for r in reports if r.role == role and r.confusion
    }
    if not found:
        return None
    total = np.sum(list(found.values()), axis=0)
    first = 0 if total[0].any() or total[:, 0].any() else 1
    return PixelResults(
        role=role,
        names=tuple(names[first:]),
        matrix=total[first:, first:],
        images={name: confusion_scores(matrix).miou for name, matrix in found.items()},
    )


def pixel_headline(results: PixelResults) -> dict[str, float]:
    """Return what the tracker logs: ``test/miou``, ``test/class_iou/<class>`` and so on."""
    scores, prefix = results.scores, PREFIX[results.role]
    found = {
        "miou": scores.miou,
        "pixel_accuracy": scores.pixel_accuracy,
        "mean_accuracy": scores.mpa_recall,
        "fwiou": scores.fwiou,
        **{
            f"class_iou/{name}": float(iou)
            for name, iou in zip(results.names, scores.iou, strict=True)
        },
    }
    return {f"{prefix}/{key}": value for key, value in found.items() if math.isfinite(value)}


def write_pixels(
    folder: Path, headline: PixelResults, others: Sequence[PixelResults]
) -> dict[str, Any]:
    """Write the matrices and return the entry ``pixels`` of ``summary.json``.

    Parameters
    ----------
    folder : Path
        ``report/``: ``confusion.csv``, and ``confusion_<role>.csv`` for the others.
    headline : PixelResults
    others : sequence of PixelResults
    """
    write_confusion(folder / "confusion.csv", headline.matrix, headline.names)
    entry = _entry(headline)
    for results in others:
        write_confusion(folder / f"confusion_{results.role}.csv", results.matrix, results.names)
        entry[results.role] = _entry(results)
    return entry


def _entry(results: PixelResults) -> dict[str, Any]:
    """Lay out one role's scores; "mean accuracy" is the mean of recall."""
    entry = confusion_entry(results.matrix, results.names)
    return {**entry, "mean_accuracy": entry["mpa_recall"], "images": len(results.images)}


def pixel_section(
    results: Sequence[PixelResults], colors: Mapping[str, str], folders: Mapping[str, Path]
) -> dict[str, Any]:
    """Return what ``_pixels.html.j2`` shows.

    Parameters
    ----------
    results : sequence of PixelResults
        The headline first.
    colors : mapping of str to str
        Class to ``#rrggbb``.
    folders : mapping of str to Path
        Case id to the folder with its pictures.
    """
    first = results[0]
    ranked = first.ranked()
    worst = ranked[:EXAMPLES]
    best = [row for row in reversed(ranked[-EXAMPLES:]) if row not in worst]
    scores = first.scores
    rows = [
        {
            "name": name,
            "color": colors.get(name, "#ffffff"),
            "share": first.matrix[i].sum() / max(1, first.matrix.sum()),
            "iou": scores.iou[i],
            "recall": scores.recall[i],
            "precision": scores.precision[i],
        }
        for i, name in enumerate(first.names)
    ]
    return {
        "results": [(one, one.scores) for one in results],
        "rows": rows,
        "bars": data_uri(iou_chart(first.names, scores.iou, colors)),
        "matrix": data_uri(confusion_chart(first.names, first.matrix)),
        "examples": [
            (title, [(name, miou, _addresses(folders[name])) for name, miou in chosen])
            for title, chosen in (("Worst pictures", worst), ("Best pictures", best))
            if chosen
        ],
    }


def _addresses(folder: Path) -> list[tuple[str, str]]:
    """Return name and address of a case's pictures that are there."""
    return [
        (name.removesuffix(".png"), data_uri((folder / name).read_bytes()))
        for name in PICTURES
        if (folder / name).is_file()
    ]
