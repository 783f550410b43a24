"""Which DICOM files of a folder form which series, and which objects lie beside them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom

from medseg.errors import FormatError
from medseg.identifiers import NOBODY_KNOWN, Identity
from medseg.io.dicom_frames import frame_headers, read_whole
from medseg.io.dicom_headers import (
    NOT_IMAGES,
    has_frames,
    is_dicom,
    is_scout,
    natural_order,
    read_header,
)
from medseg.io.dicom_identity import read_identity
from medseg.io.dicom_place import slice_header
from medseg.io.dicom_volumes import FrameVolume, split_volumes
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
    damage: FormatError | None = None
    """What is wrong with a file that belongs to the series, or may do so."""
    volumes: tuple[FrameVolume, ...] = ()
    """What it holds several of at the same places (echoes, b-values, phases); else empty."""

    @property
    def readable(self) -> bool:
        """Whether any of its files can be read."""
        return self.slices > 0

    def describe(self) -> str:
        """Say in a few words which series it is; the patient is not named."""
        number = "" if self.number is None else f" number {self.number},"
        what = f"{self.modality} '{self.description or 'no description'}',{number}"
        extent = f"{self.slices} x {self.size[0]} x {self.size[1]}"
        traits = (", a scout" if self.scout else "") + (", damaged" if self.damage else "")
        return f"{what} {extent}{traits}"


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
        images (segmentations, reports, DICOMDIR), are left out. A file that cannot be read damages
        the series whose files are called like it, or all of the folder where none is; where
        nothing else is there, it is a series of its own without a UID.
    """
    found: dict[str, list[tuple[Path, pydicom.Dataset]]] = {}
    damaged: list[tuple[Path, FormatError]] = []
    for path, header in _headers(folder, recursive=recursive):
        if isinstance(header, FormatError):
            damaged.append((path, header))
        elif "Rows" in header and header.get("Modality") not in NOT_IMAGES:
            found.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((path, header))
    listed = {uid: _describe(uid, members) for uid, members in found.items()}
    names = {uid: {_pattern(file) for file in info.files} for uid, info in listed.items()}
    for path, error in reversed(damaged):  # the first one is told
        near = [uid for uid, held in names.items() if any(path.parent == at for at, _ in held)]
        alike = [uid for uid in near if _pattern(path) in names[uid]]
        for uid in alike or near:
            listed[uid] = replace(listed[uid], damage=error)
        if not near:
            listed[""] = _unreadable(path, error)
    return listed


def _unreadable(path: Path, error: FormatError) -> SeriesInfo:
    """Stand for files that no series claims."""
    return SeriesInfo(
        uid="",
        files=(path,),
        modality="unknown",
        description="",
        patient="",
        study="",
        identity=read_identity(path.parent)[0],
        damage=error,
    )


def list_objects(folder: Path) -> dict[Path, str]:
    """List the files of a folder that hold no image, in file-name order.

    Returns
    -------
    dict of Path to str
        The modality of each: ``SEG``, ``RTSTRUCT``, ``SR`` and others of `NOT_IMAGES`.

    Raises
    ------
    FormatError
        If a file cannot be read, since it may be one of them.
    """
    kinds = {}
    for path, header in _headers(folder):
        if isinstance(header, FormatError):
            raise header
        if header.get("Modality") in NOT_IMAGES:
            kinds[path] = str(header.Modality)
    return kinds


def choose_series(folder: Path, series: str | None) -> SeriesInfo:
    """Return the one series of a folder, or the one asked for.

    A scout (localiser) counts only where there is nothing else.

    Raises
    ------
    FormatError
        If there is none, no such one, or several and ``series`` is ``None``; or if one of its files
        is damaged.
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
        return _whole(found[series])
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
    return _whole(slices[0])


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


def _whole(info: SeriesInfo) -> SeriesInfo:
    """Refuse a series of which a file is damaged."""
    if info.damage is not None:
        raise info.damage
    return info


def _headers(
    folder: Path, *, recursive: bool = False
) -> Iterator[tuple[Path, pydicom.Dataset | FormatError]]:
    """Read the header of each DICOM file, in natural order; an error where that is damaged."""
    entries = folder.rglob("*") if recursive else folder.iterdir()
    paths = natural_order(p for p in entries if p.is_file() and not p.name.startswith("."))
    strangers, known = [], set()
    for path in paths:
        try:
            if not is_dicom(path):
                strangers.append(path)
                continue
            known.add(_pattern(path))
            yield path, read_header(path)
        except FormatError as error:
            yield path, error
    for path in strangers:
        if path.suffix.lower() == ".dcm" or _pattern(path) in known:
            named = ".dcm" if path.suffix.lower() == ".dcm" else "like a slice"
            yield (
                path,
                FormatError(
                    f"{path}: named {named} but has no DICOM preamble (empty or cut short?)",
                    "copy the series again, or remove the file if it does not belong to it",
                ),
            )
        else:
            logger.debug("%s is not DICOM", path)


def _pattern(path: Path) -> tuple[Path, str]:
    """Return the folder, and the name with its numbers taken out: slices of a series share it."""
    return path.parent, re.sub(r"\d+", "0", path.name)


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
        volumes=_volumes(members),
    )


def _volumes(members: Sequence[tuple[Path, pydicom.Dataset]]) -> tuple[FrameVolume, ...]:
    """Find the volumes of a series that holds several; what is no volume is refused when read."""
    try:
        if len(members) == 1 and has_frames(members[0][1]):
            path = members[0][0]
            headers = frame_headers(read_whole(path, pixels=False), path)
        else:
            headers = [slice_header(path, header) for path, header in members]
    except FormatError:
        return ()
    found = split_volumes(headers)
    return tuple(found) if len(found) > 1 else ()
