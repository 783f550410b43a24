"""Two masks of one case, as files: read, put on one grid, scored, drawn. Runs in workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.errors import CaseError, FormatError
from medseg.geometry.orientation import GridMismatchError, reorient_to, to_closest_ras
from medseg.geometry.volume import Volume
from medseg.io.classes import StoredValues, classes_of, values_in
from medseg.io.dicom_labels import (
    grid_of_objects,
    label_objects,
    object_segments,
    read_objects_as_mask,
)
from medseg.io.picture import SUFFIXES, read_mask
from medseg.io.segments import Segment
from medseg.io.volumes import read_volume
from medseg.labels import LabelScheme
from medseg.reporting.assess import AssessedCase, describe_case
from medseg.reporting.case_report import save_report
from medseg.reporting.window import NO_IMAGE

MOST_VALUES = 255
"""A mask with more values is an image, most likely."""
SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class PairValues:
    """The values that occur in two masks, ascending, 0 included where it occurs."""

    pred: tuple[int, ...]
    reference: tuple[int, ...]


def assess_values(out: Path, name: str, pred: Path, reference: Path) -> PairValues:  # noqa: ARG001
    """List the values of a case's masks.

    Parameters
    ----------
    out : Path
        Not used; nothing is written.
    name : str
        Case id.
    pred, reference : Path
        Mask files.

    Raises
    ------
    CaseError
        If a file is no mask: not whole numbers, or too many values.
    """
    found = {}
    guess, truth = _read_masks(pred, reference, None)
    for side, path, volume in (("pred", pred, guess), ("reference", reference, truth)):
        values = values_in(StoredValues(case=name, path=path, data=volume.data[0]))
        if len(values) > MOST_VALUES:
            raise CaseError(
                name,
                f"{path}: holds {len(values)} different values, so it looks like an image",
                "give masks, or name the values that count with --labels",
            )
        found[side] = tuple(values)
    return PairValues(**found)


@dataclass(frozen=True, kw_only=True)
class PairSegments:
    """The segments of two DICOM objects."""

    pred: tuple[Segment, ...]
    reference: tuple[Segment, ...]


def assess_segments(out: Path, name: str, pred: Path, reference: Path) -> PairSegments:  # noqa: ARG001
    """List the segments of a case's masks, which are both DICOM objects.

    Parameters
    ----------
    out, name
        Not used; nothing is written.
    pred, reference : Path
        SEG or RTSTRUCT.

    Raises
    ------
    FormatError
        If an object is damaged.
    """
    return PairSegments(pred=object_segments(pred), reference=object_segments(reference))


def assess_pair(
    out: Path,
    name: str,
    pred: Path,
    reference: Path,
    scheme: LabelScheme,
    select: Mapping[str, tuple[int, ...]],
    numbered: bool = False,
) -> AssessedCase:
    """Score a predicted mask file against a reference file, and draw both.

    Parameters
    ----------
    out : Path
        Folder for the case's files.
    name : str
        Case id.
    pred, reference : Path
        Masks on the same voxels; their axes may be stored in different orders.
    scheme : LabelScheme
        What is scored; its ignore value is looked for in the reference only. With a label map, the
        reference holds what the map says, the prediction the label table's values.
    select : mapping of str to tuple of int
        Stored values of each label; others are background.
    numbered : bool
        Segments of DICOM objects stand for their numbers, not for the labels they are called as.

    Raises
    ------
    CaseError
        If a file cannot be read, or the two do not lie on the same voxels.
    """
    guess, truth = _read_masks(pred, reference, None if numbered else scheme)
    truth = to_closest_ras(truth)
    if guess.grid.ndim == 2 and guess.grid.shape != truth.grid.shape:
        raise CaseError(
            name,
            f"{pred}: size {guess.grid.shape} is not {truth.grid.shape} of {reference}",
            "export both masks at the same size",
        )
    try:
        guess = reorient_to(guess, truth.grid)
    except GridMismatchError as error:
        raise CaseError(
            name,
            f"{pred}: does not lie on the voxels of {reference}: {error}",
            "resample the prediction onto the reference's grid (nearest neighbour)",
        ) from error
    stored = [
        StoredValues(case=name, path=path, data=volume.data[0])
        for path, volume in ((pred, guess), (reference, truth))
    ]
    indices = classes_of(stored[0], replace(scheme, ignore_value=None, label_map=None), select)
    label = classes_of(stored[1], scheme, None if scheme.label_map is not None else select)
    blank = np.broadcast_to(np.float32(0), truth.data.shape)
    report = describe_case(
        name,
        Volume(data=blank, affine=truth.affine),
        indices,
        label,
        scheme,
        None,
        NO_IMAGE,
        "test",
        None,
        out,
    )
    notes = _notes(stored, scheme, select)
    if label_objects(pred) and label_objects(reference):
        notes += (
            "Both masks are DICOM objects: they were compared on the grid of their frames, so "
            "where the scan ends is not known.",
        )
    report = replace(report, notes=notes)
    return AssessedCase(folder=out, report=save_report(report, out))


def read_mask_volume(path: Path) -> Volume:
    """Read a mask of one channel in stored axis order.

    Raises
    ------
    FormatError
        If the file cannot be read, or has several channels.
    """
    if path.suffix.lower() in SUFFIXES:
        return Volume(data=read_mask(path)[np.newaxis], affine=np.eye(3))
    volume = read_volume(path)
    if len(volume.data) != 1:
        raise FormatError(
            f"{path}: holds {len(volume.data)} channels, a mask has one",
            "write one label map, or one file per structure",
        )
    return volume


def _read_masks(pred: Path, reference: Path, scheme: LabelScheme | None) -> tuple[Volume, Volume]:
    """Read two masks; a DICOM SEG or RTSTRUCT is laid over the voxels of the other one.

    Two of them are laid over the voxels of their frames.
    """
    objects = [bool(label_objects(path)) for path in (pred, reference)]
    table = None if scheme is None else replace(scheme, ignore_value=None, label_map=None)
    if all(objects):
        grid = grid_of_objects(pred, reference)
        return read_objects_as_mask(pred, grid, table), read_objects_as_mask(
            reference, grid, scheme
        )
    if objects[0]:
        truth = read_mask_volume(reference)
        return read_objects_as_mask(pred, truth.grid, table), truth
    guess = read_mask_volume(pred)
    if objects[1]:
        return guess, read_objects_as_mask(reference, guess.grid, scheme)
    return guess, read_mask_volume(reference)


def _notes(
    stored: list[StoredValues], scheme: LabelScheme, select: Mapping[str, tuple[int, ...]]
) -> tuple[str, ...]:
    """Say which values were taken as background because the label table lacks them."""
    known = {0, *(value for values in select.values() for value in values)}
    notes = []
    masks = [("prediction", stored[0], None), ("reference", stored[1], scheme.ignore_value)]
    if scheme.label_map is not None:
        masks = masks[:1]  # the map lists every value of the reference
    for what, mask, ignored in masks:
        others = [value for value in values_in(mask) if value not in known and value != ignored]
        if others:
            listing = ", ".join(str(value) for value in others[:SHOWN])
            more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
            notes.append(
                f"Values of the {what} that the label table lacks count as background: "
                f"{listing}{more}."
            )
    return tuple(notes)
