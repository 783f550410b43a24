"""Annotations in DICOM objects: a SEG or RTSTRUCT, or a folder of them, on an image's grid."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.case import LabelPart, SegmentRule
from medseg.errors import FormatError
from medseg.geometry.volume import Grid, Volume
from medseg.io.dicom import SeriesIdentity
from medseg.io.dicom_grid import shared_grid
from medseg.io.dicom_headers import is_dicom, read_header
from medseg.io.dicom_rtstruct import StructureSet, read_rtstruct
from medseg.io.dicom_seg import SegObject, read_seg
from medseg.io.dicom_series import list_objects
from medseg.io.segment_paint import paint
from medseg.io.segments import Segment, describe_segments, meanings
from medseg.label_map import BACKGROUND, OTHER
from medseg.labels import Label, LabelScheme, Region
from medseg.registry import nearest

logger = logging.getLogger(__name__)

SEG, RTSTRUCT = "SEG", "RTSTRUCT"


def label_objects(path: Path) -> tuple[Path, ...]:
    """List the SEG and RTSTRUCT files that a path means: itself, or those in a folder.

    Raises
    ------
    FormatError
        If a DICOM header cannot be read.
    """
    if path.is_dir():
        found = list_objects(path)
        return tuple(file for file, kind in found.items() if kind in (SEG, RTSTRUCT))
    if path.is_file() and is_dicom(path) and read_header(path).get("Modality") in (SEG, RTSTRUCT):
        return (path,)
    return ()


def object_segments(path: Path) -> tuple[Segment, ...]:
    """List the segments of a SEG, or the structures of an RTSTRUCT.

    Raises
    ------
    FormatError
        If the object is damaged.
    """
    return _read(path).segments


def read_label_objects(
    part: LabelPart, scheme: LabelScheme, grid: Grid, identity: SeriesIdentity | None
) -> NDArray[np.int16]:
    """Read an annotation of DICOM objects as class indices.

    Parameters
    ----------
    part : LabelPart
        A SEG or RTSTRUCT, or a folder of them, which are read as one annotation; with the rule
        for its segments. Without one, ``select`` may name segments by number.
    scheme : LabelScheme
    grid : Grid
        Stored grid of the image.
    identity : SeriesIdentity or None
        By what objects refer to the image; None where it is no DICOM series.

    Returns
    -------
    int16 ndarray of shape grid.shape

    Raises
    ------
    FormatError
        If an object is damaged or belongs to another image, segments mean nothing or overlap.
    """
    objects = [_read(path) for path in label_objects(part.path)]
    rule = part.segments or _rule_of_select(part)
    if identity is not None and rule.placed_by == "references":
        for one in objects:
            _check_belongs(one, identity)
    segments = [segment for one in objects for segment in one.segments]
    scheme = _completed(scheme, rule)
    meaning = meanings(segments, scheme, rule, part.path)
    asked = rule.structures or {}
    lacking = [name for name in asked if name not in meaning.values()]
    if lacking:
        logger.info(
            "%s: no segment for %s; taken as empty (segments: %s)",
            part.path,
            ", ".join(lacking),
            describe_segments(segments),
        )
    if grid.ndim != 3:
        raise FormatError(
            f"{part.path}: segments stand in the patient's space, the image is {grid.ndim}-D",
            "give the DICOM series as the image",
        )
    planes = chain.from_iterable(one.planes(grid, meaning.keys()) for one in objects)
    return paint(planes, grid.shape, meaning, scheme, rule, part.path)


def grid_of_objects(*paths: Path) -> Grid:
    """Return a grid that holds the frames and contours of several annotations of one scan.

    Parameters
    ----------
    *paths : Path
        SEG or RTSTRUCT files, or folders of them.

    Raises
    ------
    FormatError
        If they belong to different scans, or none is a SEG; see `medseg.io.dicom_grid`.
    """
    return shared_grid([_read(file) for path in paths for file in label_objects(path)])


def read_objects_as_mask(path: Path, grid: Grid, scheme: LabelScheme | None) -> Volume:
    """Read objects as one mask of stored values on a grid that is known from elsewhere.

    Parameters
    ----------
    path : Path
        A SEG or RTSTRUCT, or a folder of them.
    grid : Grid
        Of the mask or image that it is laid over; only positions count.
    scheme : LabelScheme or None
        The mask holds its values (those of its label map, where it has one); segments that it does
        not name or code are background. None: the mask holds the numbers of the segments.

    Raises
    ------
    FormatError
        As `read_label_objects`; or if no segment is in the table.
    """
    segments = [segment for file in label_objects(path) for segment in object_segments(file)]
    if scheme is None:
        numbers = sorted({segment.number for segment in segments})
        table = LabelScheme(labels=tuple(Label(value=n, name=f"segment {n}") for n in numbers))
        rule = SegmentRule(match="number")
    else:
        rest = {OTHER: BACKGROUND} | dict(scheme.label_map or {})
        table, rule = replace(scheme, label_map=rest), SegmentRule()
        if segments and not meanings(segments, table, rule, path):
            raise FormatError(
                f"{path}: no segment is called or coded as a label of the table; all segments: "
                f"{describe_segments(segments)}",
                nearest(segments[0].name, [label.name for label in scheme.labels]),
            )
    indices = read_label_objects(LabelPart(path=path, segments=rule), table, grid, None)
    mapped = scheme is not None and scheme.label_map is not None
    values = scheme.to_stored(indices) if mapped and scheme else table.to_values(indices)
    return Volume(data=values[np.newaxis], affine=grid.matrix)


def _read(path: Path) -> SegObject | StructureSet:
    """Read one object."""
    return read_seg(path) if read_header(path).get("Modality") == SEG else read_rtstruct(path)


def _rule_of_select(part: LabelPart) -> SegmentRule:
    """Take values that were selected as segment numbers; none for a label means all segments."""
    if part.select is None:
        return SegmentRule()
    return SegmentRule(
        structures={
            name: tuple(str(value) for value in values) or ("*",)
            for name, values in part.select.items()
        }
    )


def _completed(scheme: LabelScheme, rule: SegmentRule) -> LabelScheme:
    """Add the codes and regions that the rule knows: stages hand on the bare label table."""
    return replace(
        scheme,
        labels=tuple(
            replace(label, snomed=label.snomed or rule.codes.get(label.name))
            for label in scheme.labels
        ),
        regions=scheme.regions
        or tuple(
            Region(name=name, labels=tuple(labels), snomed=rule.codes.get(name))
            for name, labels in rule.regions.items()
        ),
    )


def _check_belongs(one: SegObject | StructureSet, identity: SeriesIdentity) -> None:
    """Refuse an object that refers to other slices than the image's."""
    mend = (
        "give the series it was drawn on as the image; where the positions are right all the same "
        "(new UIDs, registered scans), write 'placed_by: positions' into the manifest's options"
    )
    if one.instances and identity.instances:
        if not one.instances & identity.instances:
            raise FormatError(
                f"{one.path}: refers to {len(one.instances)} slices, none of which is in the image",
                mend,
            )
        return
    frames = (one.frame_of_reference, identity.frame_of_reference)
    if all(frames) and frames[0] != frames[1]:
        raise FormatError(f"{one.path}: stands in another frame of reference than the image", mend)
