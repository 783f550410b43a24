"""Slices to a stack: sort them by position, refuse what is no regular stack, build the affine."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medseg.errors import FormatError
from medseg.geometry.volume import Affine
from medseg.io.dicom_headers import SliceHeader

logger = logging.getLogger(__name__)

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

SAME_PLACE_MM = 0.01
"""Slices closer than this stand at one position."""

GAP_TOLERANCE = 0.2
"""Share of the slice distance by which one distance may differ: positions are rounded to 0.1 mm in
some exports, while a missing slice doubles the distance."""

TILT_COSINE = 0.9998
"""Slices shifted sideways by more than 1.1 degrees are reported as gantry tilt."""

FEW = 0.2
"""Up to this share of slices of another orientation are strays; more make a mixed series."""

PLANES = {0: "sagittal", 1: "coronal", 2: "axial"}
"""Name of the plane across each patient axis."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Slices in the order of their positions along the slice normal."""

    slices: tuple[SliceHeader, ...]
    order: tuple[int, ...]
    """Position of each in the list that was sorted."""
    affine: Affine
    """Column, row, slice to RAS+ mm."""


def stack_slices(headers: Sequence[SliceHeader]) -> Stack:
    """Sort the slices of one series and check that they form one regular stack.

    Parameters
    ----------
    headers : sequence of SliceHeader
        At least one, in any order: one file each, or the frames of a file.

    Raises
    ------
    FormatError
        If they are of two patients or frames of reference, if one is a scout, if they differ in
        size or orientation, or if one is missing or stands twice; the message names the file.
    """
    _check_one_patient(headers)
    _check_scouts(headers)
    _check_alike(headers)
    heights = np.array([h.normal @ np.asarray(h.position) for h in headers])
    order = np.argsort(heights, kind="stable")
    ordered = [headers[i] for i in order]
    _check_distances(ordered, heights[order])
    return Stack(slices=tuple(ordered), order=tuple(int(i) for i in order), affine=_affine(ordered))


def plane_of(header: SliceHeader) -> str:
    """Name the plane that a slice is closest to, such as ``axial``."""
    return PLANES[int(np.abs(header.normal).argmax())]


def _check_one_patient(headers: Sequence[SliceHeader]) -> None:
    """Refuse slices of two patients or two frames of reference; no identification is repeated."""
    for key, what, mend in (
        ("patient", "another PatientID", "slices of two patients are mixed; separate the files"),
        (
            "frame_of_reference",
            "another FrameOfReferenceUID",
            "slices of two scans are mixed; separate the files",
        ),
    ):
        named = [h for h in headers if getattr(h, key)]  # blanked in some anonymised files
        odd = [h for h in named if getattr(h, key) != getattr(named[0], key)]
        if odd:
            raise FormatError(f"{odd[0].place}: has {what} than {named[0].name}", mend)


def _check_scouts(headers: Sequence[SliceHeader]) -> None:
    """Refuse scouts, alone or among slices."""
    scouts = [h for h in headers if h.scout]
    if not scouts:
        return
    if len(scouts) == len(headers):
        raise FormatError(
            f"{scouts[0].place}: is a scout (ImageType LOCALIZER), not a slice of a volume",
            "name the folder or series of the slices themselves, or exclude the case",
        )
    raise FormatError(
        f"{scouts[0].place}: is a scout (ImageType LOCALIZER) among slices "
        f"({len(scouts)} of {len(headers)})",
        "move it out of the folder",
    )


def _check_alike(headers: Sequence[SliceHeader]) -> None:
    """Refuse slices of another size, spacing or orientation than most."""
    kinds = [
        (
            ("size", (h.columns, h.rows)),
            ("PixelSpacing", tuple(round(s, 4) for s in h.pixel_spacing)),
            ("orientation", tuple(round(x, 3) + 0.0 for x in (*h.along_row, *h.along_column))),
        )
        for h in headers
    ]
    _check_orientations(headers, [kind[2] for kind in kinds])
    for entry in zip(*kinds, strict=True):
        usual = Counter(entry).most_common(1)[0][0]
        odd = [i for i, kind in enumerate(entry) if kind != usual]
        if odd:
            name, value = entry[odd[0]]
            raise FormatError(
                f"{headers[odd[0]].place}: {name} {value} differs from {usual[1]} of the other "
                f"slices ({len(odd)} of {len(headers)} files differ)",
                "a scout, a reformat or another series lies in the folder; move it out",
            )


def _check_orientations(headers: Sequence[SliceHeader], kinds: Sequence[object]) -> None:
    """Refuse a series of several orientations, unless only a few slices stray."""
    counts = Counter(kinds)
    most = counts.most_common(1)[0][1]
    if len(headers) - most <= FEW * len(headers):
        return
    first = {kind: headers[kinds.index(kind)] for kind in counts}
    listing = ", ".join(
        f"{count} {plane_of(first[kind])} (such as {first[kind].name})"
        for kind, count in counts.most_common(4)
    )
    more = f" and {len(counts) - 4} more" if len(counts) > 4 else ""
    raise FormatError(
        f"{headers[0].path.parent}: slices of {len(counts)} orientations in one series: "
        f"{listing}{more}",
        "a localiser, or reformats exported together; keep one orientation in the folder, or "
        "exclude the case",
    )


def _check_distances(ordered: Sequence[SliceHeader], heights: NDArray[np.float64]) -> None:
    """Refuse slices at one position, and gaps."""
    distances = np.diff(heights)
    for (lower, upper), distance in zip(pairwise(ordered), distances, strict=True):
        if distance < SAME_PLACE_MM:
            mend = "remove the copy, or keep one phase or echo of the series only"
            if upper.frame is not None:
                mend = (
                    "the file holds several phases, echoes or b-values and does not say which "
                    "frame is which; export one of them"
                )
            raise FormatError(
                f"{upper.place}: stands at the same position as {lower.name} {upper.position}",
                mend,
            )
    if len(distances) == 0:
        return
    usual = float(np.sort(distances)[(len(distances) - 1) // 2])
    for k, distance in enumerate(distances):
        if abs(distance - usual) > GAP_TOLERANCE * usual:
            lower, upper = ordered[k], ordered[k + 1]
            lost = round(distance / usual) - 1
            what = f"{lost} missing" if lost >= 1 else "an irregular distance"
            step = (np.asarray(upper.position) - lower.position) / (lost + 1)
            expected = tuple(round(float(x), 3) for x in np.asarray(lower.position) + step)
            where = f" (the first one lacking belongs at {expected})" if lost >= 1 else ""
            raise FormatError(
                f"{lower.path if lower.frame is not None else lower.path.parent}: {what} between "
                f"slice {k} ({lower.name}) and {k + 1} ({upper.name}): {distance:.3f} mm apart, "
                f"the others {usual:.3f} mm",
                f"copy the whole series again{where}, or exclude the case",
            )


def _affine(ordered: Sequence[SliceHeader]) -> Affine:
    """Build the affine from the first and last slice; the exchange from LPS to RAS is here."""
    first = ordered[0]
    start = np.asarray(first.position)
    if len(ordered) > 1:
        step = (np.asarray(ordered[-1].position) - start) / (len(ordered) - 1)
        _check_line(ordered, step)
    else:
        step = first.normal * (first.thickness or 1.0)  # one slice has no distance to a next one
    return plane_affine(first, step)


def plane_affine(header: SliceHeader, step: NDArray[np.float64] | None = None) -> Affine:
    """Return the affine (column, row, slice to RAS+ mm) of a slice; ``step`` in LPS mm."""
    between_rows, between_columns = header.pixel_spacing
    affine = np.eye(4)
    affine[:3, 0] = np.asarray(header.along_row) * between_columns
    affine[:3, 1] = np.asarray(header.along_column) * between_rows
    affine[:3, 2] = header.normal if step is None else step
    affine[:3, 3] = np.asarray(header.position)
    ras: Affine = LPS_TO_RAS @ affine + 0.0  # + 0.0 turns -0.0 into 0.0
    return ras


def _check_line(ordered: Sequence[SliceHeader], step: NDArray[np.float64]) -> None:
    """Refuse slices that leave the straight line through the first and last one."""
    start = np.asarray(ordered[0].position)
    length = float(np.linalg.norm(step))
    for k, header in enumerate(ordered):
        off = float(np.linalg.norm(np.asarray(header.position) - start - k * step))
        if off > 0.5 * max(length, *header.pixel_spacing):
            raise FormatError(
                f"{header.place}: stands {off:.2f} mm beside the line through the other slices",
                "the series is irregular; resample it to a regular grid or exclude the case",
            )
    if float(step @ ordered[0].normal) < TILT_COSINE * length:
        logger.warning(
            "%s: slices are shifted sideways (gantry tilt); the affine holds the shear",
            ordered[0].path.parent,
        )
