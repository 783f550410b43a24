"""The files behind a case, and how to tell that one has changed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from medseg.case import Case


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file as it stood when it was listed."""

    path: str
    size: int
    """Bytes; -1 where there is no such file."""
    mtime_ns: int


def source_files(cases: Iterable[Case]) -> dict[str, tuple[SourceFile, ...]]:
    """List the files of each case, those inside folders included, in name order.

    Only names, sizes and times are looked at. A folder that several cases share is listed once.

    Returns
    -------
    dict
        Case id to its files.
    """
    listed = cache(_list)
    return {
        case.id: tuple(
            file
            for path in (
                *(f.path for f in case.image),
                *(p.path for p in case.label),
                *(p.sidecar for p in case.label if p.sidecar is not None),
            )
            for file in listed(path)
        )
        for case in cases
    }


def _list(path: Path) -> tuple[SourceFile, ...]:
    """List one file, or all files below one folder."""
    if path.is_dir():
        return tuple(
            stat_file(Path(folder) / name)
            for folder, _, names in sorted(os.walk(path))
            for name in sorted(names)
        )
    return (stat_file(path),)


def stat_file(path: Path) -> SourceFile:
    """Look at one file; a missing one has size -1."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return SourceFile(path=str(path), size=-1, mtime_ns=0)
    return SourceFile(path=str(path), size=status.st_size, mtime_ns=status.st_mtime_ns)
