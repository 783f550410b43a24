"""What a case page says beyond the case itself: intervals, standing in the cohort, scan checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medseg.reporting.case_report import CaseReport
from medseg.reporting.scan_checks import Check, TrainingScans, check_scan
from medseg.reporting.standing import Standing, standings
from medseg.reporting.volume_interval import (
    VolumeInterval,
    case_intervals,
    volume_errors,
)


@dataclass(frozen=True, kw_only=True)
class CaseContext:
    """What the cohort and the training data say about one case."""

    usual: Mapping[str, int] = field(default_factory=dict)
    """Most pieces a structure usually has (`medseg.reporting.words.usual_components`)."""
    intervals: Mapping[str, VolumeInterval] = field(default_factory=dict)
    """Structure to the interval of its volume; without an entry nothing is said."""
    standings: tuple[Standing, ...] = ()
    checks: tuple[Check, ...] = ()
    estimate: tuple[str, ...] = ()
    """Sentences about the expected quality of a case without reference; none: not assessable."""


NOTHING_KNOWN = CaseContext()
"""The context of a case that stands alone."""


def case_contexts(
    reports: Sequence[CaseReport],
    usual: Mapping[str, int],
    training: TrainingScans | None,
    modality: str,
) -> dict[str, CaseContext]:
    """Return the context of every case of a cohort.

    Parameters
    ----------
    reports : sequence of CaseReport
    usual : mapping of str to int
        Most pieces a structure usually has.
    training : TrainingScans, optional
        None: nothing is known of the training scans.
    modality : str
    """
    errors = volume_errors(reports)
    return {
        report.case: CaseContext(
            usual=usual,
            intervals=case_intervals(report, errors),
            standings=standings(report, reports),
            checks=_checks(report, training, modality),
        )
        for report in reports
    }


def _checks(report: CaseReport, training: TrainingScans | None, modality: str) -> tuple[Check, ...]:
    """Check the scan of a case; nothing for photographs and masks without image."""
    if report.scan is None:
        return ()
    means = [(s.name, s.findings.intensity_mean) for s in report.structures]
    return check_scan(report.scan, report.spacing, means, training, modality)
