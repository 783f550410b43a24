"""Write small DICOM objects with pydicom alone: SEG, RTSTRUCT and multi-frame images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
COPIED = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


def item(**values) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def new(kind: str, modality: str, **values) -> Dataset:
    """Start an object."""
    made = item(SOPClassUID=kind, SOPInstanceUID=generate_uid(), Modality=modality, **values)
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = kind
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.PatientID, made.StudyInstanceUID, made.SeriesInstanceUID = "P1", "1.2", generate_uid()
    return made


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def slices_of(folder: Path) -> list[Dataset]:
    """Read a series' headers, bottom slice first."""
    found = [pydicom.dcmread(path) for path in folder.iterdir()]
    return sorted(found, key=lambda d: np.cross(*orientation(d)) @ np.array(position(d)))


def orientation(header: Dataset) -> np.ndarray:
    return np.array(header.ImageOrientationPatient, float).reshape(2, 3)


def position(header: Dataset) -> list[float]:
    return [float(x) for x in header.ImagePositionPatient]


def geometry(first: Dataset) -> Dataset:
    """Return the shared groups: orientation and spacing."""
    return item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=first.ImageOrientationPatient)],
        PixelMeasuresSequence=[item(PixelSpacing=first.PixelSpacing, SliceThickness=1.0)],
    )


def write_seg(
    path: Path,
    slices: Sequence[Dataset],
    frames: Sequence[tuple[int | None, int, np.ndarray]],
    segments: Sequence[tuple[int, str, str]],
    *,
    kind: str = "BINARY",
    refer: bool = True,
    change=None,
) -> Path:
    """Write frames ``(segment number, slice, pixels (rows, columns))`` over a series.

    ``segments`` are (number, label, SNOMED CT code).
    """
    first = slices[0]
    seg = new(LABELMAP if kind == "LABELMAP" else SEG, "SEG", SegmentationType=kind)
    seg.Rows, seg.Columns, seg.NumberOfFrames = first.Rows, first.Columns, len(frames)
    seg.SamplesPerPixel, seg.PixelRepresentation = 1, 0
    seg.PhotometricInterpretation = "MONOCHROME2"
    bits = 1 if kind == "BINARY" else 8
    seg.BitsAllocated, seg.BitsStored, seg.HighBit = bits, bits, bits - 1
    if kind == "FRACTIONAL":
        seg.MaximumFractionalValue, seg.SegmentationFractionalType = 200, "PROBABILITY"
    if "FrameOfReferenceUID" in first:
        seg.FrameOfReferenceUID = first.FrameOfReferenceUID
    seg.SegmentSequence = [
        item(
            SegmentNumber=number,
            SegmentLabel=label,
            SegmentedPropertyTypeCodeSequence=[
                item(CodeValue=code, CodingSchemeDesignator="SCT", CodeMeaning=label)
            ],
        )
        for number, label, code in segments
    ]
    if refer:
        refs = [item(ReferencedSOPInstanceUID=s.SOPInstanceUID) for s in slices]
        for ref in refs:
            ref.ReferencedSOPClassUID = first.SOPClassUID
        seg.ReferencedSeriesSequence = [item(ReferencedInstanceSequence=refs)]
    seg.SharedFunctionalGroupsSequence = [geometry(first)]
    seg.PerFrameFunctionalGroupsSequence = []
    for number, k, _ in frames:
        place = item(ImagePositionPatient=slices[k].ImagePositionPatient)
        group = item(PlanePositionSequence=[place])
        if number is not None:
            group.SegmentIdentificationSequence = [item(ReferencedSegmentNumber=number)]
        seg.PerFrameFunctionalGroupsSequence.append(group)
    pixels = np.stack([plane for _, _, plane in frames]).astype(np.uint8)
    packed = np.packbits(pixels.ravel(), bitorder="little") if bits == 1 else pixels
    data = packed.tobytes()
    seg.PixelData = data + b"\0" * (len(data) % 2)
    if change:
        change(seg)
    return save(seg, path)


def write_rtstruct(
    path: Path, rois: Sequence[tuple[int, str, Sequence[np.ndarray]]], *, frame: str = "", refer=()
) -> Path:
    """Write ROIs (number, name, contours as (n, 3) LPS mm)."""
    made = new(RTSTRUCT, "RTSTRUCT")
    made.StructureSetROISequence = [
        item(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=frame)
        for number, name, _ in rois
    ]
    made.ROIContourSequence = [
        item(
            ReferencedROINumber=number,
            ContourSequence=[
                item(
                    ContourGeometricType="CLOSED_PLANAR",
                    NumberOfContourPoints=len(points),
                    ContourData=[f"{x:.4f}" for x in np.asarray(points).ravel()],
                    ContourImageSequence=[item(ReferencedSOPInstanceUID=uid) for uid in refer],
                )
                for points in contours
            ],
        )
        for number, _, contours in rois
    ]
    return save(made, path)


def write_enhanced(
    path: Path, slices: Sequence[Dataset], scales: Sequence[tuple[float, float]], *, change=None
) -> Path:
    """Write single slices as one Enhanced CT; stored values stay, frame ``i`` has ``scales[i]``."""
    first = slices[0]
    made = new(ENHANCED_CT, "CT", ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    for keyword in COPIED:
        setattr(made, keyword, first.get(keyword))
    made.NumberOfFrames = len(slices)
    made.SharedFunctionalGroupsSequence = [geometry(first)]
    made.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=one.ImagePositionPatient)],
            PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=intercept)],
        )
        for one, (slope, intercept) in zip(slices, scales, strict=True)
    ]
    made.PixelData = b"".join(one.PixelData for one in slices)
    if change:
        change(made)
    return save(made, path)
