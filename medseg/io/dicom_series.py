"""Which DICOM files of a folder form which series, and which objects lie beside them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom

from medseg.errors import FormatError
from medseg.identifiers import NOBODY_KNOWN, Identity
from medseg.io.dicom_headers import (
    NOT_IMAGES,
    is_dicom,
    is_scout,
    natural_order,
    read_header,
)
from medseg.registry import nearest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SeriesInfo:
    """One DICOM series as a folder listing shows it."""

    uid: str
    """SeriesInstanceUID; empty where the files have none."""
    files: tuple[Path, ...]
    """In natural file-name order."""
    modality: str
    description: str
    patient: str
    """PatientID."""
    study: str
    """StudyInstanceUID; may be empty."""
    number: int | None = None
    """SeriesNumber."""
    slices: int = 0
    """Slices in all files; a multi-frame file holds many."""
    size: tuple[int, int] = (0, 0)
    """Columns and rows of the first slice."""
    identity: Identity = NOBODY_KNOWN
    """Who the patient is, to notice names of folders that say it; never stored."""
    scout: bool = False
    """Every file says that it is a scout (localiser)."""

    def describe(self) -> str:
        """Say in a few words which series it is; the patient is not named."""
        number = "" if self.number is None else f" number {self.number},"
        what = f"{self.modality} '{self.description or 'no description'}',{number}"
        extent = f"{self.slices} x {self.size[0]} x {self.size[1]}"
        return f"{what} {extent}{', a scout' if self.scout else ''}"


def list_series(folder: Path, *, recursive: bool = False) -> dict[str, SeriesInfo]:
    """List the image series in a folder by SeriesInstanceUID, in file-name order.

    Parameters
    ----------
    folder : Path
    recursive : bool
        Also look into sub-folders.

    Returns
    -------
    dict of str to SeriesInfo
        Empty if there is no DICOM image. Files that are not DICOM, and DICOM objects that are not
        images (segmentations, reports, DICOMDIR), are left out.

    Raises
    ------
    FormatError
        If a file named ``.dcm`` is not DICOM, or a DICOM header cannot be read.
    """
    found: dict[str, list[tuple[Path, pydicom.Dataset]]] = {}
    for path, header in _headers(folder, recursive=recursive):
        if "Rows" in header and header.get("Modality") not in NOT_IMAGES:
            found.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((path, header))
    return {uid: _describe(uid, members) for uid, members in found.items()}


def list_objects(folder: Path) -> dict[Path, str]:
    """List the files of a folder that hold no image, in file-name order.

    Returns
    -------
    dict of Path to str
        The modality of each: ``SEG``, ``RTSTRUCT``, ``SR`` and others of `NOT_IMAGES`.

    Raises
    ------
    FormatError
        As `list_series`.
    """
    kinds = ((path, str(header.get("Modality"))) for path, header in _headers(folder))
    return {path: kind for path, kind in kinds if kind in NOT_IMAGES}


def choose_series(folder: Path, series: str | None) -> SeriesInfo:
    """Return the one series of a folder, or the one asked for.

    A scout (localiser) counts only where there is nothing else.

    Raises
    ------
    FormatError
        If there is none, no such one, or several and ``series`` is ``None``.
    """
    found = list_series(folder)
    if not found:
        objects = ", ".join(sorted(set(list_objects(folder).values())))
        raise FormatError(
            f"{folder}: holds no DICOM image{', but ' if objects else ''}{objects}",
            "name the folder that holds the slices themselves",
        )
    if series is not None:
        if series not in found:
            raise FormatError(f"{folder}: has no series {series}", nearest(series, found))
        return found[series]
    slices = [info for info in found.values() if not info.scout] or list(found.values())
    if len(slices) > 1:
        listing = "; ".join(
            f"{s.uid} ({len(s.files)} files, {s.modality}, {s.description or 'no description'})"
            for s in slices
        )
        raise FormatError(
            f"{folder}: holds {len(slices)} DICOM series: {listing}",
            "name one of them as the image's 'series', or move them to folders of their own",
        )
    log_others(folder, slices[:1], found.values())
    return slices[0]


def log_others(folder: Path, taken: Sequence[SeriesInfo], every: Iterable[SeriesInfo]) -> None:
    """Log the series of a folder that were passed over."""
    others = [info for info in every if info.uid not in {one.uid for one in taken}]
    if others:
        logger.info(
            "%s: took %s; passed over %s",
            folder,
            "; ".join(info.describe() for info in taken) or "no series",
            "; ".join(info.describe() for info in others),
        )


def _headers(folder: Path, *, recursive: bool = False) -> Iterator[tuple[Path, pydicom.Dataset]]:
    """Read the header of each DICOM file, in natural order."""
    entries = folder.rglob("*") if recursive else folder.iterdir()
    for path in natural_order(p for p in entries if p.is_file() and not p.name.startswith(".")):
        if is_dicom(path):
            yield path, read_header(path)
        elif path.suffix.lower() == ".dcm":
            raise FormatError(
                f"{path}: named .dcm but has no DICOM preamble (empty or cut short?)",
                "copy the series again, or remove the file if it does not belong to it",
            )
        else:
            logger.debug("%s is not DICOM", path)


def _describe(uid: str, members: list[tuple[Path, pydicom.Dataset]]) -> SeriesInfo:
    """Summarise a series by its first file."""
    first = members[0][1]
    description = first.get("SeriesDescription") or first.get("StudyDescription") or ""
    number = first.get("SeriesNumber")
    return SeriesInfo(
        uid=uid,
        files=tuple(path for path, _ in members),
        modality=str(first.get("Modality") or "unknown"),
        description=str(description),
        patient=str(first.get("PatientID") or ""),
        study=str(first.get("StudyInstanceUID") or ""),
        number=None if number is None else int(number),
        slices=sum(int(header.get("NumberOfFrames") or 1) for _, header in members),
        size=(int(first.Columns), int(first.Rows)),
        identity=Identity.of(first),
        scout=all(is_scout(header.get("ImageType")) for _, header in members),
    )
