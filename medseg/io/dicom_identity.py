"""Who the patient of DICOM files is, also where a file is damaged behind its header."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pydicom

from medseg.errors import FormatError
from medseg.identifiers import HEADER, NOBODY_KNOWN, Identity
from medseg.io.dicom_headers import DAMAGE, is_dicom, natural_order


def read_identity(place: Path) -> tuple[Identity, str]:
    """Return what a DICOM file, or the first one in a folder that tells, says of its patient.

    Parameters
    ----------
    place : Path
        A file, DICOM or not, or a folder; folders below it are not looked into.

    Returns
    -------
    Identity
        What an empty header says, where nothing tells.
    str
        SeriesInstanceUID of the same file; may be empty.
    """
    files = natural_order(p for p in place.iterdir() if p.is_file()) if place.is_dir() else [place]
    for file in files:
        with suppress(FormatError, *DAMAGE):  # this is about names; whoever reads it says why not
            if not is_dicom(file):
                continue
            tags = [*HEADER, "SeriesInstanceUID"]
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)
            identity = Identity.of(header)
            if identity != NOBODY_KNOWN:
                return identity, str(header.get("SeriesInstanceUID") or "")
    return NOBODY_KNOWN, ""
