"""Readers: from the layout of a data set to a list of cases. Voxels stay on disk.

A reader is ``read_x(root, manifest, **options) -> list[Case]``; its keyword-only parameters are
the options of the manifest, checked by name and type when the manifest is loaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import field, make_dataclass
from typing import Any, get_type_hints

from medseg.case import Case
from medseg.config import Document, KeyPath, validate
from medseg.errors import ManifestError
from medseg.identifiers import without_patients
from medseg.manifest import Manifest
from medseg.readers.bids import read_bids
from medseg.readers.coco import read_coco
from medseg.readers.decathlon import read_decathlon
from medseg.readers.dicom import read_dicom
from medseg.readers.folders import read_folders
from medseg.readers.lists import read_lists
from medseg.readers.nnunet import read_nnunet
from medseg.readers.pairs import read_pairs
from medseg.readers.patients import hide_sources
from medseg.readers.phantom import read_phantom
from medseg.readers.scenes import read_scenes
from medseg.readers.table import read_table
from medseg.readers.voc import read_voc
from medseg.registry import nearest

Reader = Callable[..., list[Case]]

READERS: dict[str, Reader] = {
    "bids": read_bids,
    "coco": read_coco,
    "decathlon": read_decathlon,
    "dicom": read_dicom,
    "folders": read_folders,
    "lists": read_lists,
    "nnunet": read_nnunet,
    "pairs": read_pairs,
    "phantom": read_phantom,
    "scenes": read_scenes,
    "table": read_table,
    "voc": read_voc,
}

GENERATED = ("phantom", "scenes")
"""Readers that make their data; their root need not be there."""


def options_of(reader: str) -> type:
    """Return a dataclass whose fields are the options of a reader.

    Raises
    ------
    ManifestError
        If there is no such reader; the message gives the nearest name.
    """
    if reader not in READERS:
        raise ManifestError(f"no reader is named '{reader}'; {nearest(reader, READERS)}")
    function = READERS[reader]
    hints = get_type_hints(function)
    fields: list[Any] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        entry: tuple[Any, ...] = (name, hints[name])
        if parameter.default is not inspect.Parameter.empty:
            entry += (field(default=parameter.default),)
        fields.append(entry)
    return make_dataclass(f"{reader}_options", fields, kw_only=True, frozen=True)


def read_cases(manifest: Manifest) -> list[Case]:
    """List the cases of a data set, sorted by id, less those that are excluded.

    Patients (``Case.group``) are numbered or hashed unless ``manifest.identifiers`` keeps them.

    Parameters
    ----------
    manifest : Manifest
        As `medseg.manifest_file.load_manifest` returns it.

    Raises
    ------
    ManifestError
        If an option is wrong, or the data is not as the reader expects it; what is missing is
        named.
    """
    kind = options_of(manifest.reader)
    where: dict[KeyPath, str] = {(): f"{manifest.source or manifest.name}"}
    document = Document(
        data=dict(manifest.options),
        where=where,
        source=manifest.source or manifest.root,
        prefix="options",
    )
    options: Any = validate(kind, document, error=ManifestError)
    values = {name: getattr(options, name) for name in kind.__dataclass_fields__}  # type: ignore[attr-defined]
    cases = READERS[manifest.reader](manifest.root, manifest, **values)
    if manifest.reader != "dicom":  # which names its cases itself
        hide_sources(cases, manifest)
    return without_patients(cases, manifest.identifiers)
