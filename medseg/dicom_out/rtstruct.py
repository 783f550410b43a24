"""RT Structure Set: one ROI per segment, closed contours on every slice it is on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from medseg.dicom_out.contours import outline
from medseg.dicom_out.equipment import NAME, Algorithm
from medseg.dicom_out.plain import new_object, reference
from medseg.dicom_out.segments import Segment
from medseg.dicom_out.source import SourceSeries
from medseg.metrics.box import union_mask

STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def make_rtstruct(
    source: SourceSeries,
    indices: NDArray[np.int16],
    segments: Sequence[Segment],
    algorithm: Algorithm,
) -> Dataset:
    """Make an RT Structure Set of a series.

    Parameters
    ----------
    source : SourceSeries
    indices : int16 ndarray of shape source.grid.shape
        Class indices in stored order: columns, rows, slices by position.
    segments : sequence of Segment
        At least one.
    algorithm : Algorithm
    """
    dataset = new_object(source, RTStructureSetStorage, "RTSTRUCT", "contours", algorithm)
    # explicit VR gives a contour 64 kB at most
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.OperatorsName = ""
    dataset.StructureSetLabel = NAME
    dataset.StructureSetName = algorithm.describe("contours")
    dataset.StructureSetDate = dataset.InstanceCreationDate
    dataset.StructureSetTime = dataset.InstanceCreationTime
    dataset.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    dataset.PositionReferenceIndicator = ""
    dataset.ReferencedFrameOfReferenceSequence = [_frame(source)]
    dataset.StructureSetROISequence = [_roi(source, segment, algorithm) for segment in segments]
    dataset.ROIContourSequence = [_contours(source, indices, segment) for segment in segments]
    dataset.RTROIObservationsSequence = [_observation(segment) for segment in segments]
    dataset.ApprovalStatus = "UNAPPROVED"
    return dataset


def _frame(source: SourceSeries) -> Dataset:
    """Refer to the study, the series and every slice."""
    series = Dataset()
    series.SeriesInstanceUID = source.first.SeriesInstanceUID
    series.ContourImageSequence = [reference(header) for header in source.headers]
    study = Dataset()
    study.ReferencedSOPClassUID = STUDY_CLASS
    study.ReferencedSOPInstanceUID = source.first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _roi(source: SourceSeries, segment: Segment, algorithm: Algorithm) -> Dataset:
    """Name an ROI."""
    item = Dataset()
    item.ROINumber = segment.number
    item.ReferencedFrameOfReferenceUID = source.first.FrameOfReferenceUID
    item.ROIName = segment.label
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    item.ROIGenerationDescription = f"{NAME} {algorithm.version} {algorithm.model}"[:64]
    return item


def _contours(source: SourceSeries, indices: NDArray[np.int16], segment: Segment) -> Dataset:
    """Draw an ROI."""
    item = Dataset()
    item.ROIDisplayColor = [int(segment.color[i : i + 2], 16) for i in (1, 3, 5)]
    item.ReferencedROINumber = segment.number
    item.ContourSequence = list(_drawn(source, union_mask(indices, segment.indices)))
    return item


def _drawn(source: SourceSeries, mask: NDArray[np.bool_]) -> Iterator[Dataset]:
    """Yield the contours of a mask, slice by slice, in the patient's space (LPS mm)."""
    affine = source.grid.matrix
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        for polygon in outline(mask[:, :, k]):
            index = np.column_stack([polygon, np.full(len(polygon), float(k))])
            points = (index @ affine[:3, :3].T + affine[:3, 3]) * RAS_TO_LPS
            contour = Dataset()
            contour.ContourImageSequence = [reference(source.headers[k])]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{x:.4f}" for x in points.ravel()]
            yield contour


def _observation(segment: Segment) -> Dataset:
    """Say what an ROI is."""
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = segment.number
    item.ROIObservationLabel = segment.label[:16]
    item.RTROIIdentificationCodeSequence = [_coded(segment.code.type)]
    item.RTROIInterpretedType = ""
    item.ROIInterpreter = ""
    return item


def _coded(code: Code) -> Dataset:
    """Write a code as an item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
