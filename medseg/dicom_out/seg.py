"""DICOM Segmentation: a coded segment per structure, as bits (BINARY) or numbers (LABELMAP)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, generate_uid

from medseg.dicom_out.equipment import NAME, SERIES_NUMBER, Algorithm, require_highdicom
from medseg.dicom_out.segments import Segment, segment_pixels
from medseg.dicom_out.source import SourceSeries
from medseg.errors import FormatError


def make_seg(
    source: SourceSeries,
    indices: NDArray[np.int16],
    segments: Sequence[Segment],
    algorithm: Algorithm,
    *,
    labelmap: bool = False,
) -> Dataset:
    """Make a DICOM Segmentation of a series.

    Parameters
    ----------
    source : SourceSeries
    indices : int16 ndarray of shape source.grid.shape
        Class indices in stored order: columns, rows, slices by position.
    segments : sequence of Segment
        At least one; numbered from 1.
    algorithm : Algorithm
    labelmap : bool
        False writes BINARY, which every viewer reads and where segments may overlap; True writes
        a Label Map Segmentation (DICOM 2024), smaller where there are many segments.

    Returns
    -------
    pydicom Dataset
        Every slice of the series is referenced; only frames with a voxel are stored.

    Raises
    ------
    FormatError
        If the series' header does not hold what the object must repeat.
    MissingExtraError
        If highdicom is not installed.
    """
    highdicom = require_highdicom()
    frames = segment_pixels(indices, segments)
    frames = np.ascontiguousarray(np.moveaxis(frames, (2, 1, 0), (0, 1, 2)))
    try:
        seg = highdicom.seg.Segmentation(
            source_images=list(source.headers),
            pixel_array=frames,
            segmentation_type="LABELMAP" if labelmap else "BINARY",
            # bits stay as they are, for every reader; numbers are packed, or they would be larger
            transfer_syntax_uid=JPEGLSLossless if labelmap else ExplicitVRLittleEndian,
            segment_descriptions=[_describe(highdicom, one, algorithm) for one in segments],
            series_instance_uid=generate_uid(),
            series_number=SERIES_NUMBER["SEG"],
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=NAME,
            manufacturer_model_name=NAME,
            software_versions=algorithm.version,
            device_serial_number=algorithm.version,
            content_label="SEGMENTATION",
            content_description=algorithm.describe("segmentation"),
            series_description=algorithm.describe("segmentation"),
            content_creator_name=f"{NAME}^",
            contributing_equipment=[contribution(highdicom, algorithm)],
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(
            f"{source.path}: no DICOM SEG can be made from this series ({error})",
            "check the series' headers, or predict it without --dicom-seg",
        ) from error
    result: Dataset = seg
    source.name_patient(result)
    return result


def contribution(highdicom: Any, algorithm: Algorithm) -> Any:
    """Describe the model as contributing equipment (IHE AI Results)."""
    return highdicom.ContributingEquipment(
        manufacturer=NAME,
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=algorithm.model[:64],
        software_versions=algorithm.version,
        contribution_description=algorithm.summary,
    )


def _describe(highdicom: Any, segment: Segment, algorithm: Algorithm) -> Any:
    """Describe one segment; highdicom has no argument for the side, which modifies the type."""
    code = segment.code
    red, green, blue = (int(segment.color[i : i + 2], 16) for i in (1, 3, 5))
    description = highdicom.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=code.category,
        segmented_property_type=code.type,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=NAME,
            family=codes.DCM.ArtificialIntelligence,
            version=algorithm.version,
            source=NAME,
            parameters=algorithm.parameters,
        ),
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.tracking_id,
        anatomic_regions=None if code.region is None else [code.region],
        display_color=highdicom.color.CIELabColor.from_rgb(red, green, blue),
    )
    if code.side is not None:
        (kind,) = description.SegmentedPropertyTypeCodeSequence
        kind.SegmentedPropertyTypeModifierCodeSequence = [highdicom.sr.CodedConcept(*code.side)]
    return description
