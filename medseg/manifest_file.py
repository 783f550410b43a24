"""Load a manifest: read the YAML, check it as a whole, and find where its data is."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from medseg.config import Document, check, read_document
from medseg.errors import ManifestError
from medseg.labels import Label, Region
from medseg.manifest import Channel, Manifest
from medseg.manifest_keys import ManifestFile, find_problems, spelled_out

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FirstOf:
    """A file that names other manifests, to be tried in order."""

    first_of: tuple[str, ...]
    name: str = ""
    title: str = ""


def load_manifest(
    name_or_path: str | Path, *, data_root: Path | None = None, scratch: Path
) -> Manifest:
    """Load a manifest and find its data.

    Parameters
    ----------
    name_or_path : str or Path
        Name of a shipped manifest, or a path.
    data_root : Path, optional
        Folder below which data sets are; else ``$MEDSEG_DATA``, else ``./data``. The root of a
        manifest given by path may also be relative to its file.
    scratch : Path
        Where generated data goes.

    Returns
    -------
    Manifest
        Its ``root`` exists, or will be made by the reader. Of a ``first_of`` file, the first
        manifest whose data is there.

    Raises
    ------
    ManifestError
        With every mistake as ``file:line:col: key: what``; or with the places where the data was
        looked for and how to point at it.
    """
    document = read_document(name_or_path, kind="data_manifests", error=ManifestError)
    if "first_of" in document.data:
        return _first_of(document, data_root, scratch)
    written = read_manifest_file(document)
    place = find_root(written, document, data_root, scratch)
    if place is None:
        raise ManifestError(_not_found(written, document, data_root))
    return _manifest(written, document, place)


def read_manifest_file(document: Document) -> ManifestFile:
    """Check a manifest's keys without looking at data.

    Raises
    ------
    ManifestError
        With every mistake as ``file:line:col: key: what``.
    """
    document = spelled_out(document)
    written, lines = check(ManifestFile, document)
    reader = document.data.get("reader")
    if isinstance(reader, str):
        lines += _check_options(document, reader)
    if written is not None:
        found = sorted(find_problems(written), key=lambda one: document.rank(one[0]))
        lines += [f"{document.at(path)}: {document.dotted(path)}: {what}" for path, what in found]
    if lines or written is None:
        raise ManifestError("\n".join(lines))
    return written


def _check_options(document: Document, reader: str) -> list[str]:
    """Return what is wrong with the reader's name and its options."""
    from medseg.readers import options_of

    try:
        kind = options_of(reader)
    except ManifestError as error:
        return [f"{document.at(('reader',))}: reader: {error}"]
    if not isinstance(document.data.get("options", {}), dict):
        return []
    return check(kind, document.section("options"))[1]


def data_folder(data_root: Path | None) -> Path:
    """Return the folder below which data sets are: argument, ``$MEDSEG_DATA`` or ``./data``."""
    if data_root is not None:
        return data_root.expanduser()
    named = os.environ.get("MEDSEG_DATA")
    return Path(named).expanduser() if named else Path("data")


def _places(written: ManifestFile, document: Document, data_root: Path | None) -> list[Path]:
    """List where the data may be, in the order of trying."""
    from medseg.shipped import shipped_folder

    roots = (written.root,) if isinstance(written.root, str) else written.root
    bases = [data_folder(data_root)]
    here = document.source.resolve().parent
    if here != shipped_folder("data_manifests").resolve():
        bases.insert(0, here)
    below = [base / Path(root).expanduser() for root in roots for base in bases]
    names = {Path(root).name for root in roots}
    return [*below, *(base for base in bases[-1:] if base.name in names)]  # the folder itself


def find_root(
    written: ManifestFile, document: Document, data_root: Path | None, scratch: Path
) -> Path | None:
    """Return the folder of the data, or None; generated data has its place in ``scratch``."""
    from medseg.readers import GENERATED

    if written.reader in GENERATED:
        return scratch / _name(written, document)
    return next((p for p in _places(written, document, data_root) if p.is_dir()), None)


def _name(written: ManifestFile | FirstOf, document: Document) -> str:
    return written.name or document.source.stem


def _not_found(written: ManifestFile, document: Document, data_root: Path | None) -> str:
    """Say where the data was looked for and how to point at it."""
    places = dict.fromkeys(str(p) for p in _places(written, document, data_root))
    lines = [
        f"{document.at(('root',))}: root: the data of '{_name(written, document)}' is not there; "
        "looked for",
        *(f"  {place}" for place in places),
        "put it there, or name the folder above it with --data-root DIR or MEDSEG_DATA=DIR",
    ]
    return "\n".join(lines + ([f"get it from {written.url}"] if written.url else []))


def _manifest(written: ManifestFile, document: Document, root: Path) -> Manifest:
    """Join what was written with where the data is."""
    stated: dict[str, Any] = {f.name: getattr(written, f.name) for f in fields(written)}
    stated |= {"name": _name(written, document), "root": root, "source": document.source}
    file = written.splits.file
    if file is not None and not file.is_absolute():
        beside = document.source.parent / file
        stated["splits"] = replace(written.splits, file=beside if beside.is_file() else root / file)
    if not written.labels:
        stated |= _described(root, document)
    return Manifest(**stated)


def _described(root: Path, document: Document) -> dict[str, Any]:
    """Take labels, regions, ignore value and channels from the data set's own description."""
    from medseg.readers.describe import describe

    found = describe(root)
    if found is None or not found.labels:
        raise ManifestError(
            f"{document.at(('labels',))}: labels: is missing, and {root / 'dataset.json'} does not "
            "name them either; give value and name of each structure, {liver: 1}"
        )
    channels = tuple(Channel(name=name) for name in found.channels)
    stated = {
        "labels": tuple(Label(name=name, value=value) for name, value in found.labels.items()),
        "regions": tuple(Region(name=n, labels=names) for n, names in found.regions.items()),
        "ignore_value": found.ignore_value,
        "channels": channels,
        "modality": found.modality,
    }
    return {key: value for key, value in stated.items() if key not in document.data}


def _first_of(document: Document, data_root: Path | None, scratch: Path) -> Manifest:
    """Load the first of several manifests whose data is there."""
    choice, lines = check(FirstOf, document)
    if choice is None:
        raise ManifestError("\n".join(lines))
    missing: list[str] = []
    for name in choice.first_of:
        inner = read_document(
            name, kind="data_manifests", beside=document.source.parent, error=ManifestError
        )
        if "first_of" in inner.data:
            raise ManifestError(
                f"{document.at(('first_of',))}: first_of: '{name}' is itself a choice; name the "
                "manifests it lists"
            )
        written = read_manifest_file(inner)
        root = find_root(written, inner, data_root, scratch)
        if root is not None:
            return _announced(_manifest(written, inner, root), document, missing)
        missing.append(_not_found(written, inner, data_root))
    raise ManifestError("\n".join(missing or [f"{document.at(())}: first_of: names no manifest"]))


def _announced(manifest: Manifest, document: Document, missing: Sequence[str]) -> Manifest:
    """Say which manifest was taken, loudly if it is made up."""
    name = document.source.stem
    if manifest.synthetic:
        logger.warning(
            "manifest '%s': no real data found, using SYNTHETIC data '%s' instead\n%s",
            name,
            manifest.name,
            "\n".join(missing),
        )
    else:
        logger.info("manifest '%s': using '%s' in %s", name, manifest.name, manifest.root)
    return manifest
