"""The expected Dice in words and tables, and its calibration in the model folder.

``quality.json`` stands beside ``model.json``: one calibration per structure
(`medseg.metrics.expected_dice`). It names no case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from medseg.errors import ConfigError
from medseg.expected import Calibration, Clue, ExpectedDice
from medseg.metrics.expected_dice import LEVEL, correlation, rank_correlation
from medseg.reporting.case_report import CaseReport, Role

FILE = "quality.json"
PERCENT = round(100 * LEVEL)

JUDGED_FROM: Mapping[Clue, str] = {
    "flips": "how much mirrored predictions disagree",
    "probability": "how sure the network is, voxel by voxel",
}


@dataclass(frozen=True, kw_only=True)
class EstimateCheck:
    """How one structure's estimates met the Dice of cases with a reference."""

    structure: str
    role: Role
    cases: int
    """Cases with both."""
    pearson: float | None
    spearman: float | None
    """None for fewer than 3 cases, or where one side is constant (a calibration without slope)."""
    error: float | None
    """Mean distance of estimate and Dice."""
    error_of_mean: float | None
    """The same of saying the mean Dice of the validation cases each time."""
    covered: int
    """Cases whose Dice lies in the interval."""


def write_quality(folder: Path, calibrations: Sequence[Calibration]) -> Path:
    """Write ``quality.json`` into a model folder and return its path."""
    file = folder / FILE
    document = {"calibrations": [asdict(one) for one in calibrations]}
    file.write_text(json.dumps(document, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")
    return file


def read_quality(folder: Path) -> tuple[Calibration, ...]:
    """Read ``quality.json``; a folder without one (of an older version) has no calibration.

    Raises
    ------
    ConfigError
        If the file holds something else.
    """
    file = folder / FILE
    if not file.is_file():
        return ()
    try:
        found = json.loads(file.read_text("utf-8"))["calibrations"]
        return TypeAdapter(tuple[Calibration, ...]).validate_python(found)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(key) for key in fault["loc"])
        raise ConfigError(f"{file}: {where}: {fault['msg']}; copy the model again") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: not readable ({error}); copy the model again") from error


def estimate_sentences(
    expected: Sequence[ExpectedDice],
    calibrations: Sequence[Calibration],
    truth: Mapping[str, float] | None = None,
) -> tuple[str, ...]:
    """Say what Dice to expect of each structure, and how good that estimate is.

    Parameters
    ----------
    expected : sequence of ExpectedDice
        Of the structures of one case.
    calibrations : sequence of Calibration
    truth : mapping of str to float, optional
        Dice against the reference, where there is one.
    """
    known = {one.structure: one for one in calibrations}
    return tuple(
        _sentence(one, known[one.structure], (truth or {}).get(one.structure))
        for one in expected
        if one.structure in known
    )


def check_estimates(
    reports: Sequence[CaseReport], calibrations: Sequence[Calibration], role: Role
) -> tuple[EstimateCheck, ...]:
    """Compare the estimates of the cases of a role with their Dice, structure by structure.

    Estimates count whether or not the validation found them good enough to be shown.
    """
    checks = []
    for calibration in calibrations:
        if calibration.clue is None:
            continue
        pairs = estimate_pairs(reports, calibration.structure, role)
        value = np.array([one.value for one, _ in pairs], dtype=np.float64)
        dice = np.array([true for _, true in pairs], dtype=np.float64)
        checks.append(
            EstimateCheck(
                structure=calibration.structure,
                role=role,
                cases=len(pairs),
                pearson=correlation(value, dice) if calibration.slope > 0 else None,
                spearman=rank_correlation(value, dice) if calibration.slope > 0 else None,
                error=float(np.abs(value - dice).mean()) if pairs else None,
                error_of_mean=_error_of_mean(calibration, dice, role) if pairs else None,
                covered=sum(_covers(one, true) for one, true in pairs),
            )
        )
    return tuple(checks)


def estimate_pairs(
    reports: Sequence[CaseReport], structure: str, role: Role
) -> list[tuple[ExpectedDice, float]]:
    """Pair each estimate of a structure with its Dice, where both are known."""
    pairs = []
    for report in reports:
        if report.role != role:
            continue
        dice = {s.structure: s.dice for s in report.scores}.get(structure, np.nan)
        pairs += [
            (one, dice)
            for one in report.expected
            if one.structure == structure and one.value is not None and np.isfinite(dice)
        ]
    return pairs


def _error_of_mean(calibration: Calibration, dice: NDArray[np.float64], role: Role) -> float:
    """Return how far guessing the mean is off; a validation case is left out of its own mean."""
    if role == "validation":
        return calibration.error_of_mean
    return float(np.abs(calibration.mean - dice).mean())


def _covers(one: ExpectedDice, dice: float) -> bool:
    """Tell whether an interval holds a Dice."""
    return one.low is not None and one.high is not None and one.low <= dice <= one.high


def _sentence(one: ExpectedDice, calibration: Calibration, true: float | None) -> str:
    """Describe one structure's estimate."""
    start = f"Expected Dice of {one.structure}: "
    if one.value is None or one.reason or calibration.clue is None:
        said = f"{start}not assessable: {one.reason}."
    else:
        rank = "" if calibration.spearman is None else f"; Spearman {calibration.spearman:.2f}"
        said = (
            f"{start}{one.value:.2f} ({PERCENT} % interval {one.low:.2f} to {one.high:.2f}), "
            f"judged from {JUDGED_FROM[calibration.clue]}; on {calibration.cases} validation cases "
            f"this estimate was off by {calibration.error:.3f} on average (guessing their mean: "
            f"{calibration.error_of_mean:.3f}{rank})."
        )
    if true is None or np.isnan(true):
        return said
    return f"{said} The reference gives {true:.3f}."
