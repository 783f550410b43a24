"""Whether a scan is like those that the model was trained on, and whether it shows everything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.volume import Grid, Volume
from medseg.reporting.planes import EDGES, TIMES, tilt_degrees
from medseg.reporting.window import NO_IMAGE

BODY_HU = -300.0
"""Above this a voxel of a CT is body, not air or lung."""
CLIPPED_SHARE = 0.05
"""Share of a side of a CT that may be body before the field of view counts as clipped there."""
DEEP_MM = 20.0
"""Only what is body all the way to this depth counts: the couch of the scanner is thinner."""
SPACING_SLACK = 1.25
"""A spacing may leave the range of the training data by this factor."""
TILT_SLACK = 5.0
"""Degrees by which a scan may be more oblique than the training data."""


@dataclass(frozen=True, kw_only=True)
class ScanFacts:
    """What the checks need to know of one scan."""

    orientation: str
    """Axis codes of the stored image; empty where they are not known."""
    tilt_degrees: float
    clipped: tuple[str, ...] | None
    """Sides at which the body leaves the field of view; None: not assessable (no CT)."""


@dataclass(frozen=True, kw_only=True)
class TrainingScans:
    """What the scans looked like that a model was trained on."""

    orientations: tuple[str, ...]
    spacing_low: tuple[float, ...]
    spacing_high: tuple[float, ...]
    tilt_degrees: float
    """The largest."""
    intensity: tuple[float, float] | None
    """0.5th and 99.5th percentile of the annotated voxels; None where images are normalised one
    by one, so that their scale tells nothing."""


AGAINST_TRAINING = ("Orientation", "Voxel spacing", "Intensities")
"""Checks that compare a scan with those of training."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of a scan and how it came out."""

    name: str
    state: Literal["passed", "look here", "not assessable"]
    text: str


def scan_facts(image: Volume, modality: str, orientation: str) -> ScanFacts:
    """Measure what the checks need.

    Parameters
    ----------
    image : Volume
        On the canonical grid, CT in HU.
    modality : str
        DICOM modality, or ``photo``.
    orientation : str
        Axis codes of the stored image.
    """
    clipped = None
    if modality.upper() == "CT" and image.grid.ndim == 3:
        clipped = _clipped_sides(image.data[0], image.spacing)
    return ScanFacts(
        orientation=orientation, tilt_degrees=tilt_degrees(image.grid), clipped=clipped
    )


def training_scans(
    grids: Sequence[Grid], orientations: Sequence[str], intensity: tuple[float, float] | None
) -> TrainingScans | None:
    """Sum up the training scans; None where there is none, or they are photographs."""
    if not grids or grids[0].ndim != 3:
        return None
    spacings = np.array([grid.spacing for grid in grids])
    return TrainingScans(
        orientations=tuple(sorted(set(orientations))),
        spacing_low=tuple(float(s) for s in spacings.min(axis=0)),
        spacing_high=tuple(float(s) for s in spacings.max(axis=0)),
        tilt_degrees=max(tilt_degrees(grid) for grid in grids),
        intensity=intensity,
    )


def check_scan(
    facts: ScanFacts,
    spacing: Sequence[float],
    intensities: Sequence[tuple[str, float | None]],
    training: TrainingScans | None,
    modality: str,
) -> tuple[Check, ...]:
    """Run all checks of a volume.

    Parameters
    ----------
    facts : ScanFacts
    spacing : sequence of float
        In mm, canonical axes.
    intensities : sequence of (str, float or None)
        Each structure and its mean intensity.
    training : TrainingScans, optional
        None: nothing is known of the training data.
    modality : str
    """
    checks = [_field_of_view(facts, modality)]
    if training is None:
        why = "nothing is known of the training scans"
        unknown = (Check(name=n, state="not assessable", text=why) for n in AGAINST_TRAINING)
        return (*checks, *unknown)
    return (
        *checks,
        _orientation(facts, training),
        _spacing(spacing, training),
        _intensity(intensities, training),
    )


def _field_of_view(facts: ScanFacts, modality: str) -> Check:
    """Say whether the body leaves the scan at its sides."""
    name = "Field of view"
    if facts.clipped is None:
        kind = "there is no image" if modality == NO_IMAGE else f"air is not known in {modality}"
        return Check(name=name, state="not assessable", text=kind)
    if facts.clipped:
        sides = " and ".join(facts.clipped)
        text = f"the body reaches the {sides} edge of the scan: what lies beyond is not measured"
        return Check(name=name, state="look here", text=text)
    return Check(name=name, state="passed", text="the body lies within the scan at its four sides")


def _orientation(facts: ScanFacts, training: TrainingScans) -> Check:
    """Compare how the scan is stored and tilted."""
    name = "Orientation"
    known = ", ".join(training.orientations)
    if facts.tilt_degrees > training.tilt_degrees + TILT_SLACK:
        text = (
            f"the scan is tilted by {facts.tilt_degrees:.0f}°, the training scans by at most "
            f"{training.tilt_degrees:.0f}°"
        )
        return Check(name=name, state="look here", text=text)
    if not facts.orientation:
        return Check(name=name, state="not assessable", text="the stored axes are not known")
    if facts.orientation not in training.orientations:
        text = (
            f"stored as {facts.orientation}, the training scans as {known}: look at left and right"
        )
        return Check(name=name, state="look here", text=text)
    return Check(name=name, state="passed", text=f"stored as {facts.orientation}, as in training")


def _spacing(spacing: Sequence[float], training: TrainingScans) -> Check:
    """Compare the voxel size with its range in training."""
    low, high = training.spacing_low, training.spacing_high
    outside = [
        not a / SPACING_SLACK <= s <= b * SPACING_SLACK
        for s, a, b in zip(spacing, low, high, strict=True)
    ]
    own = TIMES.join(f"{s:.2f}" for s in spacing)
    sides = [(f"{a:.2f}", f"{b:.2f}") for a, b in zip(low, high, strict=True)]
    known = TIMES.join(a if a == b else f"{a} to {b}" for a, b in sides)
    text = f"{own} mm; training scans {known} mm"
    return Check(name="Voxel spacing", state="look here" if any(outside) else "passed", text=text)


def _intensity(intensities: Sequence[tuple[str, float | None]], training: TrainingScans) -> Check:
    """Compare the mean intensity of what was found with the annotated voxels of training."""
    name = "Intensities"
    known = [(structure, mean) for structure, mean in intensities if mean is not None]
    if training.intensity is None:
        why = "each image is normalised by itself, so its scale tells nothing"
        return Check(name=name, state="not assessable", text=why)
    if not known:
        return Check(name=name, state="not assessable", text="no structure was found")
    low, high = training.intensity
    outside = [f"{s} {mean:.0f}" for s, mean in known if not low <= mean <= high]
    span = f"annotated voxels in training lie between {low:.0f} and {high:.0f}"
    if outside:
        return Check(name=name, state="look here", text=f"mean of {', '.join(outside)}; {span}")
    return Check(name=name, state="passed", text=f"means are as in training; {span}")


def _clipped_sides(channel: NDArray[Any], spacing: Sequence[float]) -> tuple[str, ...]:
    """Name the left, right, back and front sides that are body to more than a small share."""
    sides = []
    for axis, names in enumerate(EDGES[:2]):
        depth = min(channel.shape[axis], math.ceil(DEEP_MM / spacing[axis]))
        for layers, name in zip((slice(0, depth), slice(-depth, None)), names, strict=True):
            slab = np.moveaxis(channel, axis, 0)[layers] > BODY_HU
            if float(np.mean(slab.all(axis=0))) > CLIPPED_SHARE:
                sides.append(name)
    return tuple(sides)
