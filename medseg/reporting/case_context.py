"""What a case page says beyond the case itself: intervals, standing in the cohort, scan checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medseg.expected import Calibration
from medseg.reporting.background import Background
from medseg.reporting.case_report import CaseReport
from medseg.reporting.quality import estimate_sentences
from medseg.reporting.scan_checks import AGAINST_TRAINING, Check, TrainingScans, check_scan
from medseg.reporting.standing import Standing, standings
from medseg.reporting.volume_interval import (
    VolumeInterval,
    case_intervals,
    volume_errors,
    volume_interval,
)
from medseg.reporting.words import joined


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
    """Sentences about the quality to expect, judged without a reference; none: not assessable."""


NOTHING_KNOWN = CaseContext()
"""The context of a case that stands alone."""


def case_contexts(
    reports: Sequence[CaseReport],
    usual: Mapping[str, int],
    training: TrainingScans | None,
    modality: str,
    calibrations: Sequence[Calibration] = (),
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
    calibrations : sequence of Calibration
        What the estimates of quality rest on.
    """
    errors = volume_errors(reports)
    return {
        report.case: CaseContext(
            usual=usual,
            intervals=case_intervals(report, errors),
            standings=standings(report, reports),
            checks=checks,
            estimate=_estimate(report, calibrations, checks),
        )
        for report, checks in ((one, _checks(one, training, modality)) for one in reports)
    }


def lone_context(
    report: CaseReport,
    background: Background,
    modality: str,
    calibrations: Sequence[Calibration] = (),
) -> CaseContext:
    """Return the context of a case that was predicted by itself, without its cohort.

    Parameters
    ----------
    report : CaseReport
    background : Background
        What the model folder knows of the training and validation cases.
    modality : str
    calibrations : sequence of Calibration
        What the estimates of quality rest on.
    """
    errors, checks = background.volume_errors, _checks(report, background.training, modality)
    return CaseContext(
        usual=background.usual,
        intervals={
            s.name: volume_interval(s.size.volume_ml, errors.get(s.name, ()))
            for s in report.structures
            if errors
        },
        checks=checks,
        estimate=_estimate(report, calibrations, checks),
    )


def _estimate(
    report: CaseReport, calibrations: Sequence[Calibration], checks: Sequence[Check]
) -> tuple[str, ...]:
    """Say what quality to expect, and where the scan is of another kind than those of training."""
    truth = {s.structure: s.dice for s in report.scores}
    said = estimate_sentences(report.expected, calibrations, truth)
    unlike = [
        one.name.lower()
        for one in checks
        if one.state == "look here" and one.name in AGAINST_TRAINING
    ]
    shown = any(one.value is not None and not one.reason for one in report.expected)
    if not shown or not unlike:
        return said
    doubt = (
        f"This scan is unlike those of training ({joined(unlike)}). No estimate was tried on such "
        "scans: what is expected here may be too good."
    )
    return (doubt, *said)


def _checks(report: CaseReport, training: TrainingScans | None, modality: str) -> tuple[Check, ...]:
    """Check the scan of a case; nothing for photographs and masks without image."""
    if report.scan is None:
        return ()
    means = [(s.name, s.findings.intensity_mean) for s in report.structures]
    return check_scan(report.scan, report.spacing, means, training, modality)
