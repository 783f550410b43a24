"""What `medseg predict` finds at INPUT: one case per file, group of channel files, or series."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.artefacts import SetAside
from medseg.case import Case, ImageFile
from medseg.errors import ConfigError
from medseg.identifiers import Identifiers
from medseg.pipelines.shown_names import shown_cases, shown_series

STAGE = "predict"


LISTS = (".txt", ".csv")
"""Suffixes of files that list what to predict."""
SHOWN = 3


def find_cases(
    sources: Path | Sequence[Path],
    channels: Sequence[str],
    ndim: int,
    identifiers: Identifiers = "drop",
) -> tuple[tuple[Case, ...], tuple[SetAside, ...]]:
    """List the cases of files, folders and lists, in name order.

    - A file is one case. Several files are grouped as those of a folder are.
    - A ``.txt`` file lists files and folders, one a line (``#`` begins a comment); a ``.csv`` file
      has a column ``image``, or one column per channel, and may have a column ``case`` with names.
      Relative paths start at the list.
    - A folder's volume files (for a model of photographs: its images) are one case each. With
      several channels, one file that holds them all is a case (a 4-D NIfTI, a colour image), and so
      are the files ``<case>_<channel name>`` or ``<case>_0000``, ``<case>_0001``, ... together.
    - Each DICOM series in the folder or below is one case, named by its folder; where a folder
      holds several, by the end of the SeriesInstanceUID too. One with a damaged file is set aside;
      of one that holds several volumes of the same slices (echoes, phases) each is a case.

    Parameters
    ----------
    sources : Path or sequence of Path
    channels : sequence of str
        The model's channel names, in order.
    ndim : int
        2 for a model of photographs, else 3.
    identifiers : {"drop", "hash", "keep"}
        A DICOM case whose name holds what the header says of the patient is called by a hash, the
        same every time, but for ``keep``; see `medseg.identifiers`.

    Returns
    -------
    tuple of Case, tuple of SetAside
        And what lies there but cannot be a case.

    Raises
    ------
    ConfigError
        If there is nothing to predict, nothing of it is whole, a list is wrong, or two cases would
        have one name.
    """
    named, paths = _unfold(sources, channels)
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder to predict")
    cases = list(named)
    aside: list[SetAside] = []
    files = [path for path in paths if path.is_file()]
    if len(files) == 1:
        cases.append(Case(id=stem(files[0]), image=(ImageFile(path=files[0]),)))
    else:
        grouped, aside = group_channels(files, channels)
        cases += grouped
    cases = shown_cases(cases, identifiers)
    for folder in (path for path in paths if path.is_dir()):
        found, unreadable = _folder_cases(folder, channels, ndim, identifiers)
        cases, aside = [*cases, *found], [*aside, *unreadable]
    if aside and not cases:
        raise ConfigError(
            "nothing can be predicted, so nothing was written: "
            + "; ".join(row.reason for row in aside[:SHOWN])
            + (f"; and {len(aside) - SHOWN} more" if len(aside) > SHOWN else "")
        )
    _check_names(cases)
    return tuple(sorted(cases, key=lambda case: case.id)), tuple(aside)


def image_files(folder: Path, ndim: int) -> list[Path]:
    """List the files of a folder that can be cases of a model, by name."""
    return [p for p in sorted(folder.iterdir()) if p.is_file() and _is_image(p, ndim)]


def _folder_cases(
    folder: Path, channels: Sequence[str], ndim: int, identifiers: Identifiers
) -> tuple[list[Case], list[SetAside]]:
    """List the cases of one folder; refuse one that holds nothing."""
    cases, aside = group_channels(image_files(folder, ndim), channels)
    if ndim == 3:
        for below in [folder, *sorted(p for p in folder.rglob("*") if p.is_dir())]:
            series, unreadable = series_cases(below, folder, identifiers)
            cases, aside = [*cases, *series], [*aside, *unreadable]
    if not cases and not aside:
        kinds = "PNG, JPEG or TIFF image" if ndim == 2 else "NIfTI, NRRD or MHA file, nor a DICOM"
        raise ConfigError(
            f"{folder}: holds no {kinds} to predict; this model was trained on "
            f"{'photographs' if ndim == 2 else 'volumes'}"
        )
    return cases, aside


def _unfold(
    sources: Path | Sequence[Path], channels: Sequence[str]
) -> tuple[list[Case], list[Path]]:
    """Read the lists among the sources: cases with names of their own, and all other paths."""
    cases: list[Case] = []
    paths: list[Path] = []
    for source in [sources] if isinstance(sources, Path) else sources:
        if source.suffix.lower() not in LISTS or not source.is_file():
            paths.append(source)
        elif source.suffix.lower() == ".txt":
            lines = (line.strip() for line in source.read_text(encoding="utf-8").splitlines())
            paths += [source.parent / line for line in lines if line and not line.startswith("#")]
        else:
            cases += _csv_cases(source, channels)
    if not cases and not paths:
        raise ConfigError(f"{sources}: lists nothing to predict")
    return cases, paths


def _csv_cases(file: Path, channels: Sequence[str]) -> list[Case]:
    """Read a table of cases."""
    cases = []
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        header = rows.fieldnames or ()
        columns = ["image"] if "image" in header else list(channels)
        missing = [name for name in columns if name not in header]
        if missing:
            raise ConfigError(
                f"{file}: no column {', '.join(missing)}; give a column 'image', or one per "
                f"channel ({', '.join(channels)})"
            )
        for number, row in enumerate(rows, start=2):
            images = [file.parent / row[name] for name in columns if row[name]]
            absent = [str(path) for path in images if not path.exists()]
            if len(images) < len(columns) or absent:
                fault = f"{absent[0]} is not there" if absent else "a path is missing"
                raise ConfigError(f"{file}: line {number}: {fault}")
            name = row.get("case") or stem(images[0])
            cases.append(Case(id=name, image=tuple(ImageFile(path=path) for path in images)))
    return cases


def group_channels(
    files: Iterable[Path], channels: Sequence[str]
) -> tuple[list[Case], list[SetAside]]:
    """Make a case of each file, or of the files that together hold a case's channels.

    Returns
    -------
    list of Case, list of SetAside
        A case that lacks channels is set aside.
    """
    whole: list[Case] = []
    parts: dict[str, dict[int, Path]] = {}
    for path in files:
        name, channel = _split_channel(stem(path), channels)
        if channel is None:
            whole.append(Case(id=name, image=(ImageFile(path=path),)))
        else:
            parts.setdefault(name, {})[channel] = path
    aside = []
    for name, found in parts.items():
        missing = [
            f"{name}_{channels[c]} (or _{c:04d})" for c in range(len(channels)) if c not in found
        ]
        if missing:
            reason = (
                f"case {name}: the file of channel {', '.join(missing)} is missing; the model "
                f"needs {', '.join(channels)}"
            )
            aside.append(SetAside(case=name, stage=STAGE, reason=reason))
        else:
            image = tuple(ImageFile(path=found[c]) for c in range(len(channels)))
            whole.append(Case(id=name, image=image))
    return whole, aside


def stem(path: Path) -> str:
    """Return a file's name without its (double) suffix.

    Examples
    --------
    >>> stem(Path("scans/patient.1.nii.gz")), stem(Path("IM001"))
    ('patient.1', 'IM001')
    """
    name = path.name.removesuffix(".gz") if path.name.endswith(".nii.gz") else path.name
    return Path(name).stem


def _split_channel(name: str, channels: Sequence[str]) -> tuple[str, int | None]:
    """Split ``<case>_<channel>`` into case and channel number, for models of several channels."""
    if len(channels) > 1:
        for number, channel in enumerate(channels):
            for ending in (f"_{channel}", f"_{number:04d}"):
                if name.lower().endswith(ending.lower()) and len(name) > len(ending):
                    return name[: -len(ending)], number
    return name, None


def _is_image(path: Path, ndim: int) -> bool:
    """Tell by name whether a file can be a case of a model."""
    from medseg.io.picture import SUFFIXES
    from medseg.io.volumes import is_volume_file

    if path.name.startswith("."):
        return False
    return is_volume_file(path) if ndim == 3 else path.suffix.lower() in SUFFIXES


def series_cases(
    folder: Path, source: Path, identifiers: Identifiers = "drop"
) -> tuple[list[Case], list[SetAside]]:
    """Make a case of each DICOM series in a folder, named by its place below ``source``."""
    from medseg.io.dicom import list_series
    from medseg.readers.common import as_id
    from medseg.readers.dicom import volume_cases

    name = "_".join(folder.relative_to(source).parts) or folder.resolve().name
    found = list_series(folder)
    ends = {uid: as_id(uid.rpartition(".")[2]) for uid in found}
    if len(set(ends.values())) < len(found):
        ends = {uid: as_id(uid) for uid in found}
    cases: list[Case] = []
    aside: list[SetAside] = []
    for uid, info in found.items():
        own = name if len(found) == 1 else f"{name}_{ends[uid]}"
        if info.damage is not None:
            own = shown_series(own, info, folder, source, identifiers)
            aside.append(SetAside(case=own, stage=STAGE, reason=f"case {own}: {info.damage}"))
            continue
        for case in volume_cases(
            Case(id=own, image=(ImageFile(path=folder, series=uid or None),)), info
        ):
            shown = shown_series(case.id, info, folder, source, identifiers)
            cases.append(replace(case, id=shown))
    return cases, aside


def _check_names(cases: Sequence[Case]) -> None:
    """Refuse two cases that would write the same file."""
    seen: dict[str, Path] = {}
    for case in cases:
        path = case.image[0].path
        if case.id in seen:
            raise ConfigError(
                f"{seen[case.id]} and {path} would both be written as '{case.id}'; rename one, or "
                "predict them into different folders"
            )
        seen[case.id] = path
