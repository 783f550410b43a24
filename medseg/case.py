"""A case: which files hold one patient's image and its annotation. Voxels stay on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Split = Literal["train", "test", "predict"]
"""``predict`` marks a case without annotation: it is segmented, never trained on or scored."""


@dataclass(frozen=True, kw_only=True)
class VolumeRule:
    """Which volume of a DICOM series is meant that holds several of the same slices.

    A volume must fulfil all that is given and that tells the volumes of its series apart; ``none``
    means the one that lacks the value.
    """

    frame_type: str | None = None
    """Pattern of the image or frame type, such as ``*WATER*``."""
    echo_time: float | Literal["none"] | None = None
    """ms."""
    b_value: float | Literal["none"] | None = None
    """s/mm2."""
    direction: str | None = None
    """Pattern of the diffusion direction: ``ISOTROPIC``, or three numbers."""
    cardiac_phase: float | Literal["none"] | None = None
    """Percent of the cardiac cycle."""
    temporal_position: float | Literal["none"] | None = None
    """Number of the phase."""
    acquisition: float | Literal["none"] | None = None
    """Number of the acquisition."""
    pick: Literal["only", "first", "last"] = "only"
    """Which of several that fulfil it: ``only`` refuses them; they are ordered by the values
    above."""


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """An image file (or folder of slices); its channels follow those of the files before it."""

    path: Path
    """A volume file, an image, or a folder that holds a DICOM series."""
    series: str | None = None
    """SeriesInstanceUID, where the folder holds several DICOM series."""
    volume: VolumeRule | None = None
    """Which volume is meant, where the series holds several of the same slices."""


@dataclass(frozen=True, kw_only=True)
class SegmentRule:
    """What the segments of a DICOM SEG, or the structures of an RTSTRUCT, mean."""

    structures: Mapping[str, tuple[str, ...]] | None = None
    """Label or region name to the segments that mean it: name or pattern (``Liver*``), code
    (``SCT:10200004``) or number (``2``); segments that are not listed are background. ``None``:
    each segment is looked up by ``match``."""
    match: Literal["auto", "name", "code", "number"] = "auto"
    """``name``: the name of a label, a region or a key of the label map; ``code``: the label's
    SNOMED CT code; ``auto``: name, then code; ``number``: the label table's value."""
    overlap: Literal["refuse", "later"] = "refuse"
    """What a voxel in several segments is, where no region tells: an error, or the label that
    stands later in the table."""
    placed_by: Literal["references", "positions"] = "references"
    """``references``: the object must refer to the image's slices or frame of reference;
    ``positions``: only the positions count."""
    codes: Mapping[str, str] = field(default_factory=dict)
    """SNOMED CT code of labels and regions, by name."""
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Labels of each region, by name."""


@dataclass(frozen=True, kw_only=True)
class LabelPart:
    """A file (or folder of slices) of an annotation; later parts are painted over earlier ones."""

    path: Path
    """A label volume, a mask, a folder of PNG slices, a folder with a DICOM mask series, or a
    DICOM SEG or RTSTRUCT (or a folder of them)."""
    select: Mapping[str, tuple[int, ...]] | None = None
    """Label name to the file's values that mean it; an empty tuple means any non-zero value.

    ``None``: the file holds the values of the manifest's label table.
    """
    decoder: str | None = None
    """How the file codes classes (`medseg.io.decoders`); None: one value per pixel."""
    item: str | None = None
    """Which image of a file that annotates several: its file name there."""
    sidecar: Path | None = None
    """A second file that the decoder needs."""
    segments: SegmentRule | None = None
    """How the segments of a DICOM SEG or RTSTRUCT (a file, or a folder of them) become labels."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One patient's scan, or one photograph, with its annotation where there is one."""

    id: str
    image: tuple[ImageFile, ...]
    """Channels in the manifest's order; a 4-D NIfTI brings several channels in one file."""
    label: tuple[LabelPart, ...] = ()
    annotated: tuple[str, ...] | None = None
    """Names of the labels this case's annotation covers; ``None`` means all of them."""
    group: str | None = None
    """Cases of one group (a patient, a drive) never stand on both sides of a split."""
    split: Split | None = None
    """Set where the data set itself says it; otherwise the manifest's split rule decides."""
    fold: int | None = None
    """Fold in which this case is used for validation, where the data set itself says it."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """What a reader knows besides, by name (observer, scanner); it never changes a result."""
