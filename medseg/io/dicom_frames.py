"""Files of many frames: what the functional groups say of each.

Enhanced CT, MR and PET images, segmentations and label maps hold their slices as frames; position,
orientation and rescale stand in the shared or the per-frame functional groups (PS3.3 C.7.6.16).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medseg.case import VolumeRule
from medseg.errors import FormatError
from medseg.io.dicom_headers import (
    DAMAGE,
    SliceHeader,
    check_grey,
    check_scale,
    is_scout,
    read_header,
)
from medseg.io.dicom_pixels import decode_frames, frame_count
from medseg.io.dicom_place import numbers, placed, traits_of
from medseg.io.dicom_stack import Stack, stack_slices
from medseg.io.dicom_volumes import choose_volume, split_volumes

FRAME_TYPES = tuple(f"{kind}FrameTypeSequence" for kind in ("CTImage", "MRImage", "PET", "XRay3D"))
TRAITS = {
    "echo_time": ("MREchoSequence", "EffectiveEchoTime"),
    "b_value": ("MRDiffusionSequence", "DiffusionBValue"),
    "direction": ("MRDiffusionSequence", "DiffusionDirectionality"),
    "cardiac_phase": ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    "temporal_position": ("FrameContentSequence", "TemporalPositionIndex"),
    "acquisition": ("FrameContentSequence", "FrameAcquisitionNumber"),
}
"""Where a frame says what may tell it from others at its place."""


def read_frames(path: Path, rule: VolumeRule | None = None) -> tuple[NDArray[Any], Stack]:
    """Read an enhanced (multi-frame) image as a stack of slices.

    Parameters
    ----------
    path : Path
        One file that holds all slices.
    rule : VolumeRule, optional
        Which volume, where it holds several of the same slices.

    Returns
    -------
    data : ndarray of shape (columns, rows, slices)
        Rescaled values, frame by frame: int16 or int32 where they are whole, else float32.
    stack : Stack
        Frames of the volume in the order of their positions.

    Raises
    ------
    FormatError
        If the frames do not say where they stand or form no regular stack (several orientations, a
        gap, a scout), there are several volumes and the rule picks none, or the file is cut short.
    """
    check_grey(read_header(path), path)
    dataset = read_whole(path)
    headers = frame_headers(dataset, path)
    volume = choose_volume(split_volumes(headers), rule, path)
    stack = stack_slices([headers[i] for i in volume.members])
    frames = [volume.members[i] for i in stack.order]
    scales = [_rescale(dataset, i, path) for i in frames]
    stored = decode_frames(dataset, path)
    shape = (stored.shape[2], stored.shape[1], len(frames))
    data = np.empty(shape, dtype=_type_of(stored[frames], scales))
    for k, (i, (slope, intercept)) in enumerate(zip(frames, scales, strict=True)):
        data[:, :, k] = (stored[i] * slope + intercept).T
    return data, stack


def frame_headers(dataset: Dataset, path: Path) -> list[SliceHeader]:
    """Return what places each frame of an image in the world.

    Raises
    ------
    FormatError
        If the frames do not say where they stand.
    """
    count = frame_count(dataset)
    if "PerFrameFunctionalGroupsSequence" not in dataset and not _group(
        dataset, 0, "PlanePositionSequence"
    ):
        raise FormatError(
            f"{path}: multi-frame DICOM with {count} frames, which do not say where they stand "
            "(no functional groups)",
            "convert it to NIfTI (dcm2niix) or to one file per slice first",
        )
    check_group_count(dataset, path)
    return [frame_header(dataset, i, path) for i in range(count)]


def read_whole(path: Path, *, pixels: bool = True) -> Dataset:
    """Read a DICOM file, with or without its pixels.

    Raises
    ------
    FormatError
        If it cannot be read.
    """
    try:
        return pydicom.dcmread(path, stop_before_pixels=not pixels)
    except DAMAGE as error:
        raise FormatError(
            f"{path}: DICOM file cannot be read ({error})", "copy the file from its source again"
        ) from error


def check_group_count(dataset: Dataset, path: Path) -> None:
    """Refuse a file that does not describe each of its frames."""
    described = len(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    if described not in (0, frame_count(dataset)):
        raise FormatError(
            f"{path}: {frame_count(dataset)} frames, of which {described} are described (cut "
            "short?)",
            "copy the file from its source again",
        )


def frame_header(dataset: Dataset, frame: int, path: Path) -> SliceHeader:
    """Return what places one frame in the world.

    Raises
    ------
    FormatError
        If the functional groups do not hold a position, an orientation and a spacing.
    """
    needed = {
        "PlaneOrientationSequence": ("ImageOrientationPatient", 6),
        "PixelMeasuresSequence": ("PixelSpacing", 2),
        "PlanePositionSequence": ("ImagePositionPatient", 3),
    }
    found = []
    for macro, (tag, count) in needed.items():
        group = _group(dataset, frame, macro) or Dataset()
        try:
            found.append(numbers(group, tag, count, path))
        except FormatError as error:
            what = error.what.replace(f"{path}: ", f"{path}: frame {frame + 1}: ")
            raise FormatError(what, error.mend) from error
    measures = _group(dataset, frame, "PixelMeasuresSequence") or Dataset()
    header = placed(
        path,
        dataset,
        orientation=found[0],
        spacing=found[1],
        position=found[2],
        thickness=measures.get("SliceThickness"),
    )
    kinds = [_entry(dataset, frame, macro, "FrameType") for macro in FRAME_TYPES]
    kind = next((one for one in kinds if one), None)
    traits = {
        name: _entry(dataset, frame, macro, keyword) for name, (macro, keyword) in TRAITS.items()
    }
    gradient = _group(dataset, frame, "MRDiffusionSequence")
    if gradient is not None and gradient.get("DiffusionGradientDirectionSequence"):
        first = gradient.DiffusionGradientDirectionSequence[0]
        traits["direction"] = first.get("DiffusionGradientOrientation")
    return replace(
        header,
        frame=frame,
        scout=header.scout or is_scout(kind),
        traits=traits_of(frame_type=kind, **traits),
    )


def _entry(dataset: Dataset, frame: int, macro: str, keyword: str) -> Any:
    """Return one entry of a functional group of a frame; None where there is none."""
    group = _group(dataset, frame, macro)
    return None if group is None else group.get(keyword)


def frame_spacing(dataset: Dataset) -> float | None:
    """Return the distance between slices in mm, where the frames say it."""
    measures = _group(dataset, 0, "PixelMeasuresSequence")
    spacing = None if measures is None else measures.get("SpacingBetweenSlices")
    return float(spacing) if spacing is not None and float(spacing) > 0 else None


def segment_of(dataset: Dataset, frame: int) -> int | None:
    """Return the number of the segment that a frame shows; None where it does not say it."""
    group = _group(dataset, frame, "SegmentIdentificationSequence")
    number = None if group is None else group.get("ReferencedSegmentNumber")
    return None if number is None else int(number)


def _group(dataset: Dataset, frame: int, macro: str) -> Dataset | None:
    """Return a functional group of a frame: its own, else the one that all share."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for holder in (*per_frame[frame : frame + 1], *shared[:1]):
        found = holder.get(macro)
        if found:
            item: Dataset = found[0]
            return item
    return None


def _rescale(dataset: Dataset, frame: int, path: Path) -> tuple[float, float]:
    """Return slope and intercept of a frame; 1 and 0 where there are none."""
    group: Dataset = _group(dataset, frame, "PixelValueTransformationSequence") or dataset
    found = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}
    try:
        for keyword in found:
            if (value := group.get(keyword)) is not None:
                found[keyword] = check_scale(keyword, value)
    except (ValueError, TypeError) as error:
        raise FormatError(
            f"{path}: frame {frame + 1}: {error}", "export the series from its source again"
        ) from error
    return found["RescaleSlope"], found["RescaleIntercept"]


def _type_of(stored: NDArray[Any], scales: list[tuple[float, float]]) -> np.dtype[Any]:
    """Return the smallest type that holds the rescaled values: whole ones stay whole."""
    if stored.dtype.kind not in "iu" or any(x % 1 for pair in scales for x in pair):
        return np.dtype(np.float32)
    low, high = int(stored.min()), int(stored.max())
    ends = [v * slope + intercept for v in (low, high) for slope, intercept in scales]
    small = np.iinfo(np.int16)
    fits = small.min <= min(ends) and max(ends) <= small.max
    return np.dtype(np.int16 if fits else np.int32)
