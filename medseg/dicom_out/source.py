"""The series that was segmented, as the objects made from it refer to it.

Only what ties an object to its patient, study and images is taken over; age, weight, comments,
other ids, physicians and devices of the source stay behind.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import generate_uid

from medseg.errors import FormatError
from medseg.geometry.volume import Grid

logger = logging.getLogger(__name__)

IDENTITY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
"""What every object of a study must repeat, and may leave empty (type 2)."""

DERIVED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
"""What ties objects together; a source that lacks one (some anonymised sets) is given it."""

IMAGE = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PositionReferenceIndicator",
    "RescaleType",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)

SEXES = ("M", "F", "O")
FAULTS = (InvalidDicomError, EOFError, OSError, ValueError, KeyError, AttributeError)


@dataclass(frozen=True, kw_only=True)
class SourceSeries:
    """Headers of a series, one slice a file."""

    path: Path
    """Its folder, for messages."""
    headers: tuple[Dataset, ...]
    """Along the slice axis of ``grid``; only the attributes named above, and SliceThickness and
    SpacingBetweenSlices as the positions give them."""
    grid: Grid
    """Stored grid: columns, rows, slices by position; RAS+ affine."""
    patient_name: str
    """Not in the headers: highdicom warns of names of one part, which must be repeated too."""

    @property
    def first(self) -> Dataset:
        """The header of the first slice, for what is the same in all."""
        return self.headers[0]

    def name_patient(self, dataset: Dataset) -> None:
        """Write the patient's name into an object that was made from the headers."""
        # as a new element: highdicom lets an object share the elements of the headers
        dataset.add_new("PatientName", "PN", self.patient_name)


def read_source(
    path: Path, files: Sequence[Path], slice_of_file: Sequence[int], grid: Grid
) -> SourceSeries:
    """Read the headers of a series whose voxels were read before.

    Parameters
    ----------
    path : Path
        The series' folder.
    files : sequence of Path
        All its files.
    slice_of_file : sequence of int
        Slice index of each, as `medseg.io.dicom.read_series` returns it for the same order.
    grid : Grid
        Stored grid of the series.

    Raises
    ------
    FormatError
        If a slice has no SOPInstanceUID, or two slices name different patients, studies or
        frames of reference.
    """
    if len(files) != len(slice_of_file):
        raise FormatError(
            f"{path}: {len(files)} files for {len(slice_of_file)} slices",
            "export one file per slice; DICOM objects are made for such series only",
        )
    headers = [_read(file) for file in files]
    _check_one(path, files, headers)
    _fill(path, headers)
    order = sorted(range(len(files)), key=lambda i: slice_of_file[i])
    name = str(headers[0].PatientName)
    for header in headers:
        header.PatientName = ""
        # from positions: the scanner's thickness is often not the distance of the slices
        header.SliceThickness = header.SpacingBetweenSlices = round(grid.spacing[2], 6)
        header.ImageOrientationPatient = headers[0].ImageOrientationPatient  # rounded the same
        header.PixelSpacing = headers[0].PixelSpacing
    ordered = tuple(headers[i] for i in order)
    return SourceSeries(path=path, headers=ordered, grid=grid, patient_name=name)


def _read(file: Path) -> Dataset:
    """Read one header and keep what is needed, as UTF-8."""
    try:
        found = pydicom.dcmread(
            file,
            stop_before_pixels=True,
            specific_tags=["SpecificCharacterSet", *IDENTITY, *DERIVED, *IMAGE],
        )
        header = Dataset()
        for keyword in IDENTITY:
            setattr(header, keyword, str(found.get(keyword) or ""))
        for keyword in (*DERIVED, *IMAGE):
            if found.get(keyword) not in (None, ""):
                setattr(header, keyword, found.get(keyword))
        meta = found.file_meta
        for keyword in ("SOPClassUID", "SOPInstanceUID"):  # blanked in some sets, left in the meta
            value = header.get(keyword) or meta.get(f"MediaStorage{keyword}")
            if not value:
                raise FormatError(
                    f"{file}: has no {keyword}, without which nothing can refer to the slice",
                    "export the series again",
                )
            setattr(header, keyword, value)
    except FAULTS as error:
        raise FormatError(
            f"{file}: DICOM header cannot be read ({error})", "copy the file from its source again"
        ) from error
    header.SpecificCharacterSet = "ISO_IR 192"
    if header.PatientSex not in SEXES:
        header.PatientSex = ""
    header.file_meta = meta
    return header


def _check_one(path: Path, files: Sequence[Path], headers: Sequence[Dataset]) -> None:
    """Refuse slices of two patients, studies or frames of reference, without repeating names."""
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", *DERIVED):
        values = [str(header.get(keyword) or "") for header in headers]
        odd = [i for i, value in enumerate(values) if value != values[0]]
        if odd:
            raise FormatError(
                f"{path}: {files[odd[0]].name} has another {keyword} than {files[0].name}",
                "a DICOM object belongs to one patient and study; separate the files",
            )
    if len({header.SOPInstanceUID for header in headers}) < len(headers):
        raise FormatError(f"{path}: two slices have one SOPInstanceUID", "export the series again")


def _fill(path: Path, headers: Sequence[Dataset]) -> None:
    """Give a source that lacks an UID one that follows from its slices, the same every time."""
    missing = [keyword for keyword in DERIVED if keyword not in headers[0]]
    if not missing:
        return
    logger.warning(
        "%s: the series has no %s; the objects carry one of their own, and viewers may not lay "
        "them over the series",
        path,
        ", ".join(missing),
    )
    slices = sorted(str(header.SOPInstanceUID) for header in headers)
    for keyword in missing:
        uid = generate_uid(entropy_srcs=["medseg", keyword, *slices])
        for header in headers:
            setattr(header, keyword, uid)
