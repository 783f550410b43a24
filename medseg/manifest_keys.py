"""The keys of a manifest file, their short forms, and mistakes that no single key shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from medseg.config import Document, KeyPath
from medseg.label_map import map_problems
from medseg.labels import Label, Region
from medseg.manifest import Channel, Splits
from medseg.registry import nearest

NORMALIZATIONS = ("auto", "ct", "zscore", "none")
DESCRIBED = ("decathlon", "nnunet")
"""Readers of layouts whose dataset.json names labels, channels and regions."""
Problems = Iterator[tuple[KeyPath, str]]


@dataclass(frozen=True, kw_only=True)
class ManifestFile:
    """The keys of a manifest file."""

    reader: str
    """How the files are laid out; ``medseg list readers`` prints the names."""
    root: str | tuple[str, ...] = ""
    """Folder below the data root (or beside this file); of several, the first that exists."""
    name: str = ""
    """Defaults to the file's name."""
    title: str = ""
    labels: tuple[Label, ...] = ()
    """Value and name of each structure; short form ``{liver: 1}``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the reader."""
    modality: str = "unknown"
    """DICOM modality: CT, MR, ... ; ``photo`` for photographs."""
    channels: tuple[Channel, ...] = (Channel(name="image"),)
    """Name and normalisation of each channel; short form ``[T1, FLAIR]``."""
    regions: tuple[Region, ...] = ()
    """Unions of labels that are trained and scored; short form ``{whole: [core, oedema]}``."""
    ignore_value: int | None = None
    """Value in label files that counts nowhere."""
    label_map: Mapping[str, str] | None = None
    """Value, colour ``"#rrggbb"`` or name in annotation files to label name, ``background`` or
    ``ignore``; ``other`` stands for all that is not listed, which is an error without it."""
    splits: Splits = field(default_factory=Splits)
    mirror_axes: tuple[int, ...] | None = None
    """Canonical axes (0 left-right, 1 front-back, 2 feet-head) that may be mirrored."""
    exclude: tuple[str, ...] = ()
    """Ids of cases to leave out."""
    licence: str = "unknown"
    citation: str = ""
    url: str = ""
    synthetic: bool = False


def spelled_out(document: Document) -> Document:
    """Write the short forms of labels, regions and channels as lists of mappings."""
    data = dict(document.data)
    places: dict[KeyPath, KeyPath] = {}  # of the short form: of the long form
    for key, inner in (("labels", "value"), ("regions", "labels")):
        if isinstance(data.get(key), dict):
            short = data[key]
            data[key] = [_entry(name, value, inner) for name, value in short.items()]
            places |= {(key, name): (key, i) for i, name in enumerate(short)}
    if isinstance(data.get("label_map"), dict):  # 11, "#808080" and person are all written as text
        short = data["label_map"]
        data["label_map"] = {str(key): name for key, name in short.items()}
        places |= {("label_map", key): ("label_map", str(key)) for key in short}
    where: dict[KeyPath, str] = {}
    for path, spot in document.where.items():
        where[(*places.get(path[:2], path[:2]), *path[2:])] = spot
    channels = data.get("channels")
    if isinstance(channels, list):
        data["channels"] = [{"name": c} if isinstance(c, str) else c for c in channels]
    return replace(document, data=data, where=where)


def _entry(name: str, value: Any, inner: str) -> dict[str, Any]:
    """Write ``liver: 1`` or ``liver: {value: 1, color: ...}`` as one mapping."""
    return {"name": str(name), **(value if isinstance(value, dict) else {inner: value})}


def find_problems(written: ManifestFile) -> Problems:
    """Yield (key path, what is wrong) for the mistakes that no single key shows."""
    yield from _label_problems(written)
    yield from _look_problems(written)
    names = [label.name for label in written.labels]
    regions = [region.name for region in written.regions]
    for i, region in enumerate(written.regions):
        if regions.index(region.name) < i:
            yield ("regions", i, "name"), f"'{region.name}' is there twice"
        if not region.labels:
            yield ("regions", i, "labels"), "names no label"
        for name in region.labels:
            if name not in names:
                yield ("regions", i, "labels"), f"no label '{name}'; {nearest(name, names)}"
    channels = [channel.name for channel in written.channels]
    if not channels:
        yield ("channels",), "name one channel or more"
    for i, channel in enumerate(written.channels):
        if channels.index(channel.name) < i:
            yield ("channels", i), f"'{channel.name}' is there twice"
        if channel.normalization not in NORMALIZATIONS:
            hint = nearest(channel.normalization, NORMALIZATIONS)
            yield ("channels", i, "normalization"), f"no '{channel.normalization}'; {hint}"
    for axis in written.mirror_axes or ():
        if axis not in (0, 1, 2):
            yield ("mirror_axes",), f"no axis {axis}; axes are 0, 1 and 2"
    if isinstance(written.splits.test, float) and not 0 <= written.splits.test < 1:
        yield ("splits", "test"), f"should be a share from 0 to below 1; got {written.splits.test}"
    if written.splits.folds < 2:
        yield ("splits", "folds"), f"should be 2 or more; got {written.splits.folds}"


def _label_problems(written: ManifestFile) -> Problems:
    """Yield what is wrong with the label table."""
    if not written.labels and written.reader not in DESCRIBED:
        yield ("labels",), "is missing; give value and name of each structure, {liver: 1}"
    values = [label.value for label in written.labels]
    names = [label.name for label in written.labels]
    for i, label in enumerate(written.labels):
        if label.value == 0:
            yield ("labels", i, "value"), "0 is background and is not listed; delete it"
        elif label.value < 0:
            yield ("labels", i, "value"), f"should be 1 or more; got {label.value}"
        if values.index(label.value) < i:
            other = names[values.index(label.value)]
            yield ("labels", i, "value"), f"{label.value} is also the value of '{other}'"
        if names.index(label.name) < i:
            yield ("labels", i, "name"), f"'{label.name}' is there twice"
    if written.ignore_value in values:
        name = names[values.index(written.ignore_value)]
        yield ("ignore_value",), f"{written.ignore_value} is the value of label '{name}'"
    if written.label_map is not None:
        for key, what in map_problems(written.label_map, names, written.ignore_value):
            yield ("label_map",) if key is None else ("label_map", key), what


def _look_problems(written: ManifestFile) -> Problems:
    """Yield colours and tolerances that are none."""
    rows: list[tuple[str, int, Label | Region]] = [
        *(("labels", i, label) for i, label in enumerate(written.labels)),
        *(("regions", i, region) for i, region in enumerate(written.regions)),
    ]
    for key, i, one in rows:
        if one.color is not None and not re.fullmatch(r"#[0-9a-fA-F]{6}", one.color):
            yield (key, i, "color"), f"should be like '#e69f00'; got '{one.color}'"
        if one.nsd_tolerance_mm <= 0:
            yield (key, i, "nsd_tolerance_mm"), f"should be above 0; got {one.nsd_tolerance_mm}"
