"""Which segments an object holds: the structures that were found, coded and numbered."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from medseg.dicom_out.codes import LONGEST_MEANING, StructureCode, code_structure
from medseg.labels import LabelScheme, Structure
from medseg.metrics.box import union_mask

logger = logging.getLogger(__name__)

Indices = NDArray[np.int16]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One structure that was found."""

    number: int
    """From 1, consecutive."""
    name: str
    indices: tuple[int, ...]
    """Class indices that belong to it."""
    color: str
    code: StructureCode
    tracking_uid: str
    """Stands in every object about this segment, so that later ones can be compared with it."""

    @property
    def label(self) -> str:
        """Its name, as long as DICOM allows."""
        return self.name[:LONGEST_MEANING]

    @property
    def tracking_id(self) -> str:
        """Its name for people who follow it over time."""
        return f"medseg {self.name}"[:LONGEST_MEANING]


@dataclass(frozen=True, kw_only=True)
class Segments:
    """What was found and what was not."""

    found: tuple[Segment, ...]
    absent: tuple[Structure, ...]
    """Structures of the label table without a voxel; they have no segment."""


def list_segments(indices: Indices, scheme: LabelScheme, *, overlap: bool) -> Segments:
    """List the structures that have voxels as segments.

    Parameters
    ----------
    indices : int16 ndarray of shape (*spatial)
        Class indices.
    scheme : LabelScheme
    overlap : bool
        Whether segments may share voxels: True gives a scheme's regions, False its labels.

    Returns
    -------
    Segments
        Structures without a code, in the table or by name, are named in a warning.
    """
    plain = scheme if overlap else LabelScheme(labels=scheme.labels)
    present = set(np.unique(indices).tolist())
    structures = [one for one in plain.structures if present & set(one.indices)]
    found = tuple(
        Segment(
            number=number,
            name=structure.name,
            indices=structure.indices,
            color=structure.color,
            code=code_structure(structure.name, structure.snomed),
            tracking_uid=str(generate_uid()),
        )
        for number, structure in enumerate(structures, start=1)
    )
    unknown = [segment.name for segment in found if not segment.code.known]
    if unknown:
        logger.warning(
            "no SNOMED CT code for %s: coded as Tissue; give 'snomed' in the manifest's labels",
            ", ".join(unknown),
        )
    absent = tuple(one for one in plain.structures if one not in structures)
    return Segments(found=found, absent=absent)


def segment_pixels(indices: Indices, segments: Sequence[Segment]) -> NDArray[np.uint8 | np.uint16]:
    """Turn class indices into segment numbers, or into a mask per segment where they overlap.

    Parameters
    ----------
    indices : int16 ndarray of shape (*spatial)
    segments : sequence of Segment

    Returns
    -------
    uint8 or uint16 ndarray
        ``(*spatial)`` with segment numbers, or ``(*spatial, segments)`` with 0 and 1.
    """
    claimed = [index for segment in segments for index in segment.indices]
    if len(set(claimed)) < len(claimed):
        masks = [union_mask(indices, segment.indices) for segment in segments]
        return np.stack(masks, axis=-1).view(np.uint8)
    table = np.zeros(max(int(indices.max()), *claimed) + 1, np.uint16)
    for segment in segments:
        table[list(segment.indices)] = segment.number
    numbers: NDArray[np.uint16] = table[np.maximum(indices, 0)]
    return numbers.astype(np.uint8) if len(segments) < 256 else numbers
