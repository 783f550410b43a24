"""A case in plain words: what was found, how well it agrees, what deserves a second look."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from medseg.metrics.case import StructureScore
from medseg.reporting.case_report import CaseReport, StructureReport
from medseg.reporting.scan_checks import Check
from medseg.reporting.volume_interval import VolumeInterval

UNDEFINED = "n/a"
COMPONENTS_PERCENTILE = 95


def summary_sentences(
    report: CaseReport, intervals: Mapping[str, VolumeInterval] | None = None
) -> list[str]:
    """Say in one sentence or two per structure what was found and how it compares."""
    given = intervals or {}
    return [_sentence(s, report.unit, given.get(s.name)) for s in report.structures]


def flags(report: CaseReport, usual: Mapping[str, int], checks: Sequence[Check] = ()) -> list[str]:
    """List what a reader should look at before trusting a case.

    Parameters
    ----------
    report : CaseReport
    usual : mapping of str to int
        Most pieces that a structure usually has, by name (`usual_components`); a structure that
        is not listed is not judged.
    checks : sequence of Check
        Of the scan.
    """
    found = []
    for structure in report.structures:
        found += _structure_flags(structure, usual)
    found += [f"{c.name}: {c.text}." for c in checks if c.state == "look here"]
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
    return f"{value:,.{_size_digits(value)}f} mL"


def size_range(low: float, high: float, unit: str) -> str:
    """Write an interval of volumes, both ends with the digits of the upper one.

    Examples
    --------
    >>> size_range(1390.2, 1460.7, "mm"), size_range(2.913, 3.2, "mm")
    ('1,390 to 1,461 mL', '2.91 to 3.20 mL')
    """
    digits = _size_digits(high)
    if unit == "px":
        return f"{low:,.0f} to {high:,.0f} px"
    return f"{low:,.{digits}f} to {high:,.{digits}f} mL"


def place_text(position: Sequence[float]) -> str:
    """Write a world position in the words of a reader: how far to which side of the origin.

    Examples
    --------
    >>> place_text((-31.04, 12.5, 0.2))
    'L 31, A 13, S 0 mm'
    """
    sides = (("R", "L"), ("A", "P"), ("S", "I"))
    parts = [
        f"{s[0] if x >= 0 else s[1]} {_half_up(abs(x))}"
        for x, s in zip(position, sides, strict=True)
    ]
    return ", ".join(parts) + " mm"


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


def _size_digits(value: float) -> int:
    """Return the decimals of a volume in mL: three digits that carry meaning."""
    return 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 or value == 0 else 3


def _half_up(value: float) -> int:
    """Round as readers do: 12.5 is 13."""
    return math.floor(value + 0.5)


def _sentence(structure: StructureReport, unit: str, interval: VolumeInterval | None) -> str:
    """Describe one structure."""
    score = structure.score
    if not structure.size.components:
        return f"{structure.name}: not found{_reference_for_empty(score, unit)}."
    pieces = structure.size.components
    text = f"{structure.name}: {size_text(structure.size.volume_ml, unit)}"
    if interval is not None and interval.low_ml is not None and interval.high_ml is not None:
        text += f" (95 % interval {size_range(interval.low_ml, interval.high_ml, unit)})"
    text += " in one piece" if pieces == 1 else f" in {pieces} pieces"
    across = structure.findings.diameter_mm
    which = "the largest " if structure.findings.lesions and pieces > 1 else ""
    text += "." if across is None else f", {which}{_half_up(across):,} {unit} across."
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
