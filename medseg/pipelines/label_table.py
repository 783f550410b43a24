"""The label table of two folders of masks: from a file, or from the values found in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.config import Document, KeyPath, check
from medseg.errors import ConfigError
from medseg.labels import Label, LabelScheme
from medseg.manifest_keys import ManifestFile, find_problems, spelled_out
from medseg.yaml_marks import read_marked

if TYPE_CHECKING:
    from medseg.io.segments import Segment

KEYS = ("labels", "regions", "ignore_value", "label_map")
FOREGROUND = "foreground"


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """What is scored, and which stored values mean it."""

    scheme: LabelScheme
    select: Mapping[str, tuple[int, ...]]
    """Label name to stored values; values that are not listed are background."""


def read_label_table(path: Path) -> LabelTable:
    """Read a YAML or JSON file with a label table.

    Parameters
    ----------
    path : Path
        ``{liver: 5}``, ``{liver: {value: 5, nsd_tolerance_mm: 1}}``, or a mapping with ``labels``
        and optionally ``regions`` and ``ignore_value``, such as a manifest.

    Raises
    ------
    ConfigError
        With every mistake as ``file:line:col: key: what``.
    """
    if not path.is_file():
        raise ConfigError(f"--labels {path}: no such file; give a YAML or JSON file 'name: value'")
    data, where = read_marked(path)
    document = spelled_out(_as_manifest(data, where, path))
    written, lines = check(ManifestFile, document)
    if written is not None:
        found = sorted(find_problems(written), key=lambda one: document.rank(one[0]))
        lines += [f"{document.at(spot)}: {document.dotted(spot)}: {what}" for spot, what in found]
    if lines or written is None:
        raise ConfigError("\n".join(lines))
    return LabelTable(
        scheme=LabelScheme(
            labels=written.labels,
            regions=written.regions,
            ignore_value=written.ignore_value,
            label_map=written.label_map,
        ),
        select={label.name: (label.value,) for label in written.labels},
    )


def table_of_segments(
    predicted: Sequence[Segment], annotated: Sequence[Segment]
) -> LabelTable | None:
    """Make a label table from the names and codes of segments of DICOM objects.

    Parameters
    ----------
    predicted, annotated : sequence of Segment
        Of all predictions and of all references.

    Returns
    -------
    LabelTable or None
        None where each side has one structure and they are called and coded differently: then the
        two are meant for each other, whatever their names.
    """
    from medseg.io.segments import labels_of_segments

    labels = labels_of_segments(predicted, annotated)
    alone = [len(labels_of_segments(side, side)) == 1 for side in (predicted, annotated)]
    if all(alone) and len(labels) > 1:
        return None
    return LabelTable(
        scheme=LabelScheme(labels=labels), select={one.name: (one.value,) for one in labels}
    )


def table_of_values(predicted: Collection[int], annotated: Collection[int]) -> LabelTable:
    """Make a label table from the values that occur in masks.

    Parameters
    ----------
    predicted, annotated : collection of int
        Values over all predictions and over all references. Where each side has one value above
        0, both mean the same structure, whatever the values (a mask of 0 and 255 against one of
        0 and 1).

    Raises
    ------
    ConfigError
        If no mask holds a value above 0.
    """
    pred, label = (sorted(v for v in set(values) if v > 0) for values in (predicted, annotated))
    if not pred and not label:
        raise ConfigError("no mask holds a value above 0, so there is nothing to compare")
    if len(pred) <= 1 and len(label) <= 1:
        values = tuple(sorted({*pred, *label}))
        only = Label(value=values[0], name=FOREGROUND)
        return LabelTable(scheme=LabelScheme(labels=(only,)), select={FOREGROUND: values})
    labels = tuple(Label(value=v, name=f"label {v}") for v in sorted({*pred, *label}))
    return LabelTable(
        scheme=LabelScheme(labels=labels), select={one.name: (one.value,) for one in labels}
    )


def _as_manifest(data: dict[str, Any], where: Mapping[KeyPath, str], path: Path) -> Document:
    """Lay a label file out as the part of a manifest that holds the labels."""
    if "labels" in data and not isinstance(data["labels"], int):
        known = {"reader": "pairs"} | data
        if "reader" in data:  # a whole manifest: only its labels are wanted
            known = {"reader": data["reader"]} | {key: data[key] for key in KEYS if key in data}
        spots = dict(where)
    else:
        known = {"reader": "pairs", "labels": data}
        spots = {("labels", *spot): place for spot, place in where.items()}
    labels = known["labels"]
    if isinstance(labels, dict):
        known["labels"] = {
            name: value
            for name, value in labels.items()
            if not (value == 0 and str(name).lower() == "background")
        }
    return Document(known, spots, path)
