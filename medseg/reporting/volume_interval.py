"""An interval for a predicted volume, from the volume errors of the validation cases.

The error of a case is ``ln(predicted / reference)``, taken on cases that the network did not see,
scans of one patient averaged. If a new case is exchangeable with them, its error lies between two
of their order statistics with at least the stated probability (split conformal prediction [1]_),
so the true volume is ``predicted * exp(-error)``. The outermost order statistics reach 95 % from
`ENOUGH` cases on. With fewer the errors are taken as normal, and Student's prediction interval
``mean ± t * sd * sqrt(1 + 1/n)`` is used: exact for normal errors, a guess otherwise, and the
report says which of the two it is.

Only cases count in which both masks hold something: the interval does not say how likely it is
that the structure is not there at all. The cases also took part in choosing the checkpoint and the
post-processing, so the interval is a little too narrow.

References
----------
.. [1] Lei et al., Distribution-free predictive inference for regression, JASA 2018.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from medseg.reporting.case_report import CaseReport

LEVEL = 0.95
ENOUGH = 39
"""Cases from which the ranks of the errors alone give 95 %: ``n + 1 >= 2 / (1 - LEVEL)``."""
FEWEST = 5
"""Cases below which a spread means nothing."""

Errors = Mapping[str, Mapping[str, float]]
"""Structure, patient (or case) and the mean of ``ln(predicted / reference)`` of their scans."""


@dataclass(frozen=True, kw_only=True)
class VolumeInterval:
    """Where the true volume lies with 95 % probability, or why nothing can be said."""

    low_ml: float | None
    """In mL; px for photographs."""
    high_ml: float | None
    cases: int
    """Patients that it rests on."""
    method: str
    """How it was made, or the reason why there is none."""


def volume_errors(reports: Sequence[CaseReport]) -> dict[str, dict[str, float]]:
    """Collect the volume errors of the validation cases, per structure and patient."""
    found: dict[str, dict[str, list[float]]] = {}
    for report in reports:
        if report.role != "validation":
            continue
        for score in report.scores:
            if score.status == "ok":
                error = math.log(score.volume_ml / score.reference_volume_ml)
                patients = found.setdefault(score.structure, {})
                patients.setdefault(report.group or report.case, []).append(error)
    return {
        name: {patient: float(np.mean(errors)) for patient, errors in patients.items()}
        for name, patients in found.items()
    }


def volume_interval(volume: float, errors: Sequence[float]) -> VolumeInterval:
    """Return the 95 % interval of a true volume.

    Parameters
    ----------
    volume : float
        Predicted, in mL (px).
    errors : sequence of float
        ``ln(predicted / reference)`` of other patients.
    """
    n = len(errors)
    if volume <= 0:
        return _none(n, "not assessable: the structure was not found")
    if n < FEWEST:
        return _none(n, f"no interval: it needs {FEWEST} validation cases or more, there are {n}")
    if n >= ENOUGH:
        ordered = np.sort(np.asarray(errors, dtype=np.float64))
        rank = math.floor((n + 1) * (1 - LEVEL) / 2)
        low, high = float(ordered[rank - 1]), float(ordered[n - rank])
        method = f"95 % interval from the ranks of the volume errors of {n} validation cases"
    else:
        mean, sd = float(np.mean(errors)), float(np.std(errors, ddof=1))
        half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd * math.sqrt(1 + 1 / n)
        low, high = mean - half, mean + half
        method = f"95 % interval if volume errors are normal, from {n} validation cases"
    return VolumeInterval(
        low_ml=volume * math.exp(-high), high_ml=volume * math.exp(-low), cases=n, method=method
    )


def case_intervals(report: CaseReport, errors: Errors) -> dict[str, VolumeInterval]:
    """Return the interval of each structure of a case; its own patient's error is left out."""
    own = report.group or report.case
    return {
        s.name: volume_interval(
            s.size.volume_ml, [e for p, e in errors.get(s.name, {}).items() if p != own]
        )
        for s in report.structures
    }


def _none(cases: int, reason: str) -> VolumeInterval:
    """Return the reason in place of an interval."""
    return VolumeInterval(low_ml=None, high_ml=None, cases=cases, method=reason)
