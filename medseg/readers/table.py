"""A table of cases, as CSV or inline in the manifest: any names, any folders, any formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.case import Case, ImageFile, LabelPart, Split
from medseg.errors import ManifestError
from medseg.manifest import Manifest
from medseg.readers.common import SECOND, checked, missing_files
from medseg.readers.table_csv import read_rows

Values = int | tuple[int, ...]
Select = Mapping[str, Values]


@dataclass(frozen=True, kw_only=True)
class ImageEntry:
    """An image with the series it means, where its folder holds several."""

    path: str
    series: str | None = None


@dataclass(frozen=True, kw_only=True)
class LabelEntry:
    """A label file and which of its values mean which label."""

    path: str
    select: Select | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case of the table; paths are relative to the root."""

    id: str
    image: str | ImageEntry | tuple[str | ImageEntry, ...]
    """A path, or one for each channel in the manifest's order."""
    label: str | tuple[str | LabelEntry, ...] | Mapping[str, str] | None = None
    """A path; or several, later ones painted over earlier ones; or label name to mask."""
    select: Select | None = None
    """Label name to the value(s) that mean it, for label files that say nothing else."""
    group: str | None = None
    split: Split | None = None
    fold: int | None = None
    annotated: tuple[str, ...] | None = None
    second_observer: str | None = None
    """A second person's mask, coded as the label; see `medseg.readers.folders.other_observer`."""
    extra: Mapping[str, str] = field(default_factory=dict)


def read_table(
    root: Path,
    manifest: Manifest,
    *,
    cases: tuple[Row, ...] = (),
    file: str | None = None,
    columns: Mapping[str, str] | None = None,
    select: Select | None = None,
) -> list[Case]:
    """List the cases of a table.

    Parameters
    ----------
    root : Path
        What paths are relative to.
    manifest : Manifest
        The data set.
    cases : sequence of mapping
        The table itself, one mapping for each case: ``id``, ``image`` and, where there is one,
        ``label``, ``select``, ``group``, ``split``, ``fold``, ``annotated``, ``second_observer``,
        ``extra``.
    file : str
        A CSV file instead, relative to the root or to the manifest file; separated by comma,
        semicolon or tab. Columns: ``id``, ``image`` (or ``image_<channel>`` for each channel),
        ``label`` (or ``label_<structure>`` for each mask), and those named above. Several values
        in a cell are separated by ``|``; a ``select`` cell reads ``liver=5 6|tumour=7``.
    columns : mapping
        What the CSV calls a column: ``{id: Patient, image: ct_file}``.
    select : mapping
        ``select`` of all cases that have none of their own.

    Raises
    ------
    ManifestError
        If a column or a file is missing; all of them are named.
    """
    if bool(cases) == bool(file):
        raise ManifestError(
            f"{manifest.source}: reader table needs one of 'cases' and 'file' in its options"
        )
    rows = list(cases)
    if file:
        from medseg.config import Document, KeyPath, validate

        table = _find(file, root, manifest)
        for line, values in read_rows(table, manifest, columns or {}):
            spot: dict[KeyPath, str] = {(): f"{table}:{line}"}
            document = Document(data=dict(values), where=spot, source=table)
            rows.append(validate(Row, document, error=ManifestError))
    listed = [_case(row, root, select) for row in rows]
    missing = missing_files(listed) + [
        f"{case.id}: {path}"
        for case in listed
        if (path := case.extra.get(SECOND)) and not Path(path).is_file()
    ]
    if missing:
        raise ManifestError(
            f"{manifest.source}: {len(missing)} file(s) of the table are not there:\n  "
            + "\n  ".join(missing)
            + f"\ncorrect the paths (relative to {root}) or leave the cases out"
        )
    return checked(listed, manifest, looked_for="rows of the table")


def _find(file: str, root: Path, manifest: Manifest) -> Path:
    """Return the CSV file: under the root, or beside the manifest."""
    places = [root / file]
    if manifest.source is not None:
        places.append(manifest.source.parent / file)
    for place in places:
        if place.is_file():
            return place
    raise ManifestError(
        f"{manifest.source}: options.file: no such file; looked for "
        + " and ".join(str(place) for place in places)
    )


def _case(row: Row, root: Path, select: Select | None) -> Case:
    """Turn a row into a case."""
    images = row.image if isinstance(row.image, tuple) else (row.image,)
    chosen = row.select if row.select is not None else select
    second = {SECOND: str(root / row.second_observer)} if row.second_observer else {}
    return Case(
        id=row.id,
        image=tuple(
            ImageFile(path=root / image)
            if isinstance(image, str)
            else ImageFile(path=root / image.path, series=image.series)
            for image in images
        ),
        label=_label(row.label, root, chosen),
        annotated=row.annotated,
        group=row.group,
        split=row.split,
        fold=row.fold,
        extra={**row.extra, **second},
    )


def _label(
    label: str | Sequence[str | LabelEntry] | Mapping[str, str] | None,
    root: Path,
    select: Select | None,
) -> tuple[LabelPart, ...]:
    """Turn the three ways of naming an annotation into its parts."""
    if label is None:
        return ()
    if isinstance(label, Mapping):
        return tuple(LabelPart(path=root / path, select={name: ()}) for name, path in label.items())
    parts = []
    for entry in (label,) if isinstance(label, str) else label:
        path = entry if isinstance(entry, str) else entry.path
        own = None if isinstance(entry, str) else entry.select
        parts.append(LabelPart(path=root / path, select=_values(select if own is None else own)))
    return tuple(parts)


def _values(select: Select | None) -> dict[str, tuple[int, ...]] | None:
    """Write every selection as a tuple of values."""
    if select is None:
        return None
    return {name: (v,) if isinstance(v, int) else tuple(v) for name, v in select.items()}
