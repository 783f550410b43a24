"""Ids of cases that name the patient: replaced by hashes unless the user keeps them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.case import Case
from medseg.identifiers import Identity, case_pseudonym, hidden_words, hide_id, hide_patient
from medseg.io.dicom_identity import read_identity
from medseg.manifest import Manifest

logger = logging.getLogger(__name__)


def hide_ids(
    cases: Sequence[Case], identities: Mapping[str, Identity], manifest: Manifest
) -> tuple[list[Case], Manifest]:
    """Replace the ids that hold what the header says of the patient.

    Such an id comes from a folder named after the patient. It would name files, pages and rows of
    tables. The hash is of the SeriesInstanceUID, which nobody can guess, so it stays the same when
    cases are added. Messages of this process do not show the old ids from then on.

    Parameters
    ----------
    cases : sequence of Case
        DICOM series, named by their folders.
    identities : mapping of str to Identity
        Case id to what its header says.
    manifest : Manifest
        ``identifiers: keep`` changes nothing.

    Returns
    -------
    list of Case
    Manifest
        Its ``exclude`` names the new ids.
    """
    if manifest.identifiers == "keep":
        return list(cases), manifest
    renamed, fresh = {}, False
    for case in cases:
        identity = identities[case.id]
        if identity.is_in(case.id):
            file = case.image[0]
            source = file.series or str(file.path.relative_to(manifest.root))
            renamed[case.id] = case_pseudonym(case.id, source)
            fresh = hide_id(case.id, renamed[case.id]) or fresh
    if fresh:
        logger.info(
            "%d of %d case ids hold the patient's id, name or a date of the header: they are "
            "replaced by hashes (report.identifiers: keep leaves them)",
            len(renamed),
            len(cases),
        )
    kept = [replace(case, id=renamed.get(case.id, case.id)) for case in cases]
    exclude = tuple(renamed.get(name, name) for name in manifest.exclude)
    return kept, replace(manifest, exclude=exclude)


def hide_words(path: Path, identities: Sequence[Identity], manifest: Manifest) -> None:
    """Keep the patients of a folder, and what is named after them, out of messages.

    Parameters
    ----------
    path : Path
        Folder of series.
    identities : sequence of Identity
        What their headers say.
    manifest : Manifest
        ``identifiers: keep`` hides nothing.
    """
    if manifest.identifiers == "keep":
        return
    files = [file.name for file in path.iterdir()] if path.is_dir() else []
    for one in dict.fromkeys(identities):
        hide_patient(one, [*_parts(path, manifest.root), *files])


def hide_sources(cases: Sequence[Case], manifest: Manifest) -> None:
    """Keep the patients of DICOM files out of messages where the ids are the user's own words.

    Parameters
    ----------
    cases : sequence of Case
        Of a table, say: their ids stay, since splits refer to them; some may be told of.
    manifest : Manifest
        ``identifiers: keep`` hides nothing.
    """
    if manifest.identifiers == "keep":
        return
    before, named = len(hidden_words()), 0
    for case in cases:
        for path in (file.path for file in case.image if _may_be_dicom(file.path)):
            identity, _ = read_identity(path)
            hide_words(path, [identity], manifest)
            named += identity.is_in(case.id)
    if named and len(hidden_words()) > before:
        logger.info(
            "%d of %d case ids hold the patient's id, name or a date of a DICOM header; written by "
            "hand, they stay: choose others if they are not to be shown",
            named,
            len(cases),
        )


def _may_be_dicom(path: Path) -> bool:
    return path.suffix.lower() in ("", ".dcm", ".ima") or path.is_dir()


def _parts(path: Path, root: Path) -> tuple[str, ...]:
    """Name the folders of a path from the data's root on."""
    below = path.relative_to(root).parts if path.is_relative_to(root) else path.parts
    return (root.resolve().name, *below)
