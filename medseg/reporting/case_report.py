"""What is known of one case: sizes, scores, the edges it touches, its pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from medseg.expected import ExpectedDice
from medseg.labels import Structure
from medseg.metrics.case import StructureScore, StructureSize, structure_mask
from medseg.reporting.findings import Findings
from medseg.reporting.planes import EDGES
from medseg.reporting.scan_checks import ScanFacts

PictureGroup = Literal["largest", "difference", "surface"]
Role = Literal["test", "validation", "predict"]
"""What a case is for in a report; ``predict``: it has no reference."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One slice as PNG."""

    file: str
    """File name in the folder of the case's report."""
    title: str
    caption: str
    alt: str
    """The picture in words, for those who do not see it."""
    group: PictureGroup = "largest"
    """Slices where the structures are largest, where the masks differ most, or a surface."""


@dataclass(frozen=True, kw_only=True)
class ViewerLabel:
    """One colour of the viewer's overlay."""

    index: int
    """Class index."""
    name: str
    color: str


@dataclass(frozen=True, kw_only=True)
class ViewerFiles:
    """What the interactive viewer shows: NIfTI files in the folder of the case's report."""

    image: str
    pred: str
    reference: str | None
    labels: tuple[ViewerLabel, ...]
    low: float
    """Intensity shown as black when the viewer opens."""
    high: float
    note: str
    """How the volumes were cut and thinned out."""


@dataclass(frozen=True, kw_only=True)
class StructureReport:
    """One structure of one case."""

    name: str
    color: str
    size: StructureSize
    edges: tuple[str, ...]
    """Edges of the scan that the predicted structure touches."""
    score: StructureScore | None
    """None without reference, or where the reference does not cover the structure."""
    findings: Findings


@dataclass(frozen=True, kw_only=True)
class CaseReport:
    """One case as its page shows it."""

    case: str
    role: Role
    fold: int | None
    group: str | None
    """Patient; it joins scans in the statistics and is not shown."""
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    """In mm (px for photographs)."""
    structures: tuple[StructureReport, ...]
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...] | None = None
    """Photographs with a whole reference: confusion matrix, rows are the truth."""
    scan: ScanFacts | None = None
    """None for photographs and where there is no image."""
    viewer: ViewerFiles | None = None
    expected: tuple[ExpectedDice, ...] = ()
    """Dice to expect of each structure, judged without the reference."""

    @property
    def unit(self) -> str:
        """Unit of lengths: mm, or px for photographs."""
        return "mm" if len(self.shape) == 3 else "px"

    @property
    def scores(self) -> tuple[StructureScore, ...]:
        """Scores of the structures that have a reference."""
        return tuple(s.score for s in self.structures if s.score is not None)


def edges_touched(pred: NDArray[np.int16], structure: Structure) -> tuple[str, ...]:
    """Name the edges of a scan that a structure touches; nothing for photographs.

    Parameters
    ----------
    pred : int16 ndarray of shape (*spatial)
        Class indices on the canonical grid.
    structure : Structure
    """
    if pred.ndim != 3:
        return ()
    touched = []
    for axis, names in enumerate(EDGES):
        if pred.shape[axis] < 2:
            continue
        for index, name in zip((0, -1), names, strict=True):
            if structure_mask(np.take(pred, index, axis=axis), structure).any():
                touched.append(name)
    return tuple(touched)


def save_report(report: CaseReport, folder: Path) -> Path:
    """Write a case report so that `load_report` reads the same one; NaN and inf survive."""
    file = folder / "report.json"
    file.write_text(json.dumps(asdict(report)), encoding="utf-8")
    return file


def load_report(file: Path) -> CaseReport:
    """Read what `save_report` wrote."""
    return _reader().validate_python(json.loads(file.read_text(encoding="utf-8")))


@cache
def _reader() -> TypeAdapter[CaseReport]:
    """Return what turns plain values into a case report."""
    return TypeAdapter(CaseReport)
