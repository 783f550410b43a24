"""Labels, channels and modality that a data set states itself, in its dataset.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import ManifestError

BACKGROUND = ("background", "bg", "back", "clear label", "unlabelled", "unlabeled")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What ``dataset.json`` says, in the words of a manifest."""

    title: str
    channels: tuple[str, ...]
    labels: dict[str, int]
    """Name to value, in order of value; without background."""
    regions: dict[str, tuple[str, ...]]
    ignore_value: int | None
    licence: str
    citation: str

    @property
    def modality(self) -> str:
        """DICOM modality, where the channels' names tell it."""
        names = [name.lower() for name in self.channels]
        if all(name.startswith("ct") for name in names):
            return "CT"
        marks = ("mr", "t1", "t2", "flair", "adc", "dwi")
        return "MR" if all(any(mark in n for mark in marks) for n in names) else "unknown"


def describe(root: Path) -> Description | None:
    """Read ``dataset.json`` of a Decathlon task or an nnU-Net raw data set; None if there is none.

    Raises
    ------
    ManifestError
        If the file is not JSON, or holds labels in no known form.
    """
    path = root / "dataset.json"
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        channels = data.get("channel_names") or data.get("modality") or {"0": "image"}
        labels, regions, ignore = _labels(data.get("labels") or {})
    except (ValueError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"{path}: is not a dataset.json of the Decathlon or of nnU-Net ({error}); mend it or "
            "name the labels in the manifest"
        ) from error
    return Description(
        title=str(data.get("name") or root.resolve().name),
        channels=_unique([str(channels[key]) for key in sorted(channels, key=int)]),
        labels=labels,
        regions=regions,
        ignore_value=ignore,
        licence=str(data.get("licence") or data.get("license") or "unknown"),
        citation=str(data.get("reference") or ""),
    )


def _labels(table: dict[str, Any]) -> tuple[dict[str, int], dict[str, tuple[str, ...]], int | None]:
    """Split a label table into labels, regions and the ignore value.

    The Decathlon writes ``{"1": "liver"}``, nnU-Net ``{"liver": 1}`` and, for regions,
    ``{"whole": [1, 2]}``; a value that no entry names alone is called ``label_<value>``.
    """
    named: dict[str, list[int]] = {}
    for key, value in table.items():
        name, values = (str(value), int(key)) if key.strip().isdigit() else (key, value)
        named[name] = [int(v) for v in values] if isinstance(values, list) else [int(values)]
    ignore = named.pop("ignore", [None])[0]
    named = {
        name: values
        for name, values in named.items()
        if name.lower() not in BACKGROUND and values != [0]
    }
    alone = {values[0]: name for name, values in named.items() if len(values) == 1}
    overlap = any(len(values) > 1 for values in named.values())
    used = sorted({value for values in named.values() for value in values})
    labels = {alone.get(value, f"label_{value}"): value for value in used}
    by_value = {value: name for name, value in labels.items()}
    regions = (
        {name: tuple(by_value[v] for v in values) for name, values in named.items()}
        if overlap
        else {}
    )
    return labels, regions, ignore


def _unique(names: list[str]) -> tuple[str, ...]:
    """Number names that repeat."""
    return tuple(name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names))
