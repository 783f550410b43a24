"""What readers of generated data share: a case is there whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4


def make_whole(target: Path, write: Callable[[Path], Any]) -> None:
    """Write a case's folder aside and rename it.

    Parameters
    ----------
    target : Path
        Folder of the case, which is not there yet.
    write : callable
        Given an empty folder, writes the case into it.
    """
    aside = target.parent / f".making_{uuid4().hex}"
    aside.mkdir(parents=True)
    try:
        write(aside)
        try:
            aside.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            # another process made the same case meanwhile; both hold the same voxels
    finally:
        shutil.rmtree(aside, ignore_errors=True)
