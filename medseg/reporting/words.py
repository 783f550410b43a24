"""A case in plain words: what was found, how well it agrees, what deserves a second look."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from medseg.metrics.case import StructureScore
from medseg.reporting.case_report import CaseReport, StructureReport

UNDEFINED = "n/a"
COMPONENTS_PERCENTILE = 95


def summary_sentences(report: CaseReport) -> list[str]:
    """Say in one sentence or two per structure what was found and how it compares."""
    return [_sentence(structure, report.unit) for structure in report.structures]


def flags(report: CaseReport, usual: Mapping[str, int]) -> list[str]:
    """List what a reader should look at before trusting a case.

    Parameters
    ----------
    report : CaseReport
    usual : mapping of str to int
        Most pieces that a structure usually has, by name (`usual_components`); a structure that
        is not listed is not judged.
    """
    found = []
    for structure in report.structures:
        found += _structure_flags(structure, usual)
    return found + list(report.notes)


def usual_components(reports: Sequence[CaseReport]) -> dict[str, int]:
    """Count the pieces that 95 % of the reference annotations do not exceed, per structure."""
    counts: dict[str, list[int]] = {}
    for report in reports:
        for score in report.scores:
            if score.reference_components:
                counts.setdefault(score.structure, []).append(score.reference_components)
    return {
        name: int(np.percentile(values, COMPONENTS_PERCENTILE, method="higher"))
        for name, values in counts.items()
    }


def size_text(value: float, unit: str) -> str:
    """Write a volume in mL (an area in px for photographs) with digits that carry meaning.

    Examples
    --------
    >>> size_text(1417.52, "mm"), size_text(3.2159, "mm"), size_text(0.04567, "mm")
    ('1,418 mL', '3.22 mL', '0.046 mL')
    """
    if unit == "px":
        return f"{value:,.0f} px"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 or value == 0 else 3
    return f"{value:,.{digits}f} mL"


def number(value: float | None, digits: int = 3) -> str:
    """Write a number for a table; n/a where it is not defined.

    Examples
    --------
    >>> number(0.91349), number(float("nan")), number(float("inf"), 1)
    ('0.913', 'n/a', '∞')
    """
    if value is None or math.isnan(value):
        return UNDEFINED
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:,.{digits}f}"


def joined(items: Sequence[str]) -> str:
    """Join words as in a sentence.

    Examples
    --------
    >>> joined(["left", "upper", "lower"])
    'left, upper and lower'
    """
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else list(items))


def _sentence(structure: StructureReport, unit: str) -> str:
    """Describe one structure."""
    score = structure.score
    if not structure.size.components:
        return f"{structure.name}: not found{_reference_for_empty(score, unit)}."
    pieces = structure.size.components
    text = f"{structure.name}: {size_text(structure.size.volume_ml, unit)}"
    text += " in one piece." if pieces == 1 else f" in {pieces} pieces."
    if score is None:
        return text
    if score.status == "false_alarm":
        return f"{text} The reference does not show it."
    percent = 100 * score.relative_volume_error
    more = "more" if percent >= 0 else "less"
    return (
        f"{text} The reference has {size_text(score.reference_volume_ml, unit)}; the prediction "
        f"is {abs(percent):.1f} % {more}. Overlap (Dice) {score.dice:.3f}, where 1 is perfect; "
        f"95 % of the outline lies within {score.hd95_mm:.1f} {unit} of the other."
    )


def _reference_for_empty(score: StructureScore | None, unit: str) -> str:
    """Say what the reference shows where the prediction is empty."""
    if score is None:
        return ""
    if score.status == "missed":
        return f", although the reference has {size_text(score.reference_volume_ml, unit)}"
    return ", as in the reference"


def _structure_flags(structure: StructureReport, usual: Mapping[str, int]) -> list[str]:
    """List the doubts about one structure."""
    found, score, name = [], structure.score, structure.name
    if not structure.size.components:
        if score is None:
            found.append(f"{name} was not found: it is not in this scan, or it was missed.")
        elif score.status == "missed":
            found.append(f"{name} was missed: the reference shows it, the prediction is empty.")
        return found
    if score is not None and score.status == "false_alarm":
        found.append(f"{name} was marked, but the reference does not show it.")
    if structure.edges:
        plural = "edges" if len(structure.edges) > 1 else "edge"
        found.append(
            f"{name} touches the {joined(structure.edges)} {plural} of the scan: part of it may "
            "lie outside, and its volume may be too small."
        )
    most = usual.get(name)
    if most is not None and structure.size.components > most:
        found.append(
            f"{name} is in {structure.size.components} pieces; the references of this data set "
            f"usually have {'one' if most == 1 else f'at most {most}'}."
        )
    return found
