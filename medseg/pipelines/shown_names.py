"""What predicted and evaluated cases are called where a DICOM header says who the patient is."""

from __future__ import annotations

import argparse
import csv
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.case import Case
from medseg.errors import ConfigError
from medseg.identifiers import Identifiers, Identity, hide_patient, is_pseudonym, shown_id

if TYPE_CHECKING:
    from medseg.io.dicom import SeriesInfo

logger = logging.getLogger(__name__)

COLUMNS = ("case", "input", "series")
"""Of the table that ``--names`` writes."""


def add_identifiers_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--identifiers``, with the words of the config's ``report.identifiers``."""
    parser.add_argument(
        "--identifiers", choices=("drop", "hash", "keep"), default="drop",
        help="a case whose name holds what its DICOM header says of the patient is called by a "
        "hash (drop, hash), or keeps its name (default: drop)",
    )  # fmt: skip


def shown_series(case: str, info: SeriesInfo, folder: Path, source: Path, mode: Identifiers) -> str:
    """Return the id of a series' case, and keep its patient out of messages.

    Parameters
    ----------
    case : str
        Id as the folders are named.
    info : SeriesInfo
    folder, source : Path
        Where the series lies, and the folder that the user gave.
    mode : {"keep", "drop", "hash"}
    """
    if mode == "keep":
        return case
    place = folder.relative_to(source)
    files = (file.name for file in info.files)
    hide_patient(info.identity, [source.resolve().name, *place.parts, *files])
    return shown_id(case, info.identity, info.uid or str(place), mode)


def shown_cases(cases: Iterable[Case], mode: Identifiers) -> list[Case]:
    """Rename the cases of single files and lists as `shown_series` does those of folders."""
    return [replace(case, id=shown_file(case.id, case.image[0].path, mode)) for case in cases]


def shown_file(case: str, path: Path, mode: Identifiers) -> str:
    """Return the id of a file's case, and keep its patient out of messages.

    Parameters
    ----------
    case : str
        Id as the file is named.
    path : Path
        File or folder; only DICOM says whose it is.
    mode : {"keep", "drop", "hash"}
    """
    if mode == "keep":
        return case
    identity, uid = hide_file(path)
    return shown_id(case, identity, uid or path.name, mode)


def hide_file(path: Path) -> tuple[Identity, str]:
    """Keep the patient of a file out of messages; return what `read_identity` does."""
    from medseg.io.dicom_identity import read_identity

    identity, uid = read_identity(path)
    hide_patient(identity, [path.resolve().parent.name, path.resolve().name])
    return identity, uid


def tell_of_hashes(cases: Sequence[Case]) -> None:
    """Log how many cases are called by a hash, and how to know which is which."""
    count = sum(is_pseudonym(case.id) for case in cases)
    if count:
        logger.info(
            "%d of %d cases are called by a hash: their names hold the patient's id, name or a "
            "date of the DICOM header (--names FILE lists them, --identifiers keep leaves them)",
            count,
            len(cases),
        )


def check_names_file(file: Path, out: Path) -> None:
    """Refuse a table of names where the predictions go: it names patients, they do not.

    Raises
    ------
    ConfigError
        If it lies in OUT.
    """
    if file.resolve().is_relative_to(out.resolve()):
        raise ConfigError(
            f"--names {file}: is in {out}, which is to hold no names; choose a place of its own"
        )


def write_names(file: Path, cases: Sequence[Case]) -> None:
    """Add to a table which case is which input: CSV with `COLUMNS`, sorted, one row per case.

    Parameters
    ----------
    file : Path
        What it says of other cases stays. It is readable by its owner alone.
    cases : sequence of Case
    """
    rows: dict[str, tuple[str, str]] = {}
    if file.is_file():
        with file.open(encoding="utf-8", newline="") as stream:
            known = csv.DictReader(stream)
            if tuple(known.fieldnames or ()) != COLUMNS:
                raise ConfigError(f"--names {file}: is no table of {', '.join(COLUMNS)}")
            rows = {row["case"]: (row["input"], row["series"]) for row in known}
    for case in cases:
        paths = ";".join(str(one.path.resolve()) for one in case.image)
        rows[case.id] = (paths, case.image[0].series or "")
    part = file.with_name(f".{file.name}.partial")
    part.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        table = csv.writer(stream)
        table.writerow(COLUMNS)
        table.writerows((case, *rows[case]) for case in sorted(rows))
    part.replace(file)
