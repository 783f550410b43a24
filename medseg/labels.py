"""The label table: names and values, and how they become network outputs and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.label_map import BACKGROUND, IGNORE, OTHER, stored_value

IGNORE_INDEX = -1
"""Class index of a voxel that counts neither in a loss nor in a metric."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """One annotated structure; background is 0 and is never listed."""

    value: int
    """Value in label files, 1 or more."""
    name: str
    color: str | None = None
    """``#rrggbb``; ``None`` takes one from the built-in colour-blind-safe palette."""
    snomed: str | None = None
    """SNOMED CT code of the structure."""
    nsd_tolerance_mm: float = 2.0
    """Tolerance of the surface Dice (NSD) in mm."""
    lesion: bool | None = None
    """Whether reports list its pieces one by one; ``None`` decides by the name."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A union of labels that is trained and scored as one; regions may overlap."""

    name: str
    labels: tuple[str, ...]
    """Names of the labels it unites."""
    color: str | None = None
    snomed: str | None = None
    nsd_tolerance_mm: float = 2.0
    lesion: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What is scored and reported: a label, or a region as a union of class indices."""

    name: str
    indices: tuple[int, ...]
    """Class indices (1-based positions in the label table) that belong to it."""
    color: str
    snomed: str | None
    nsd_tolerance_mm: float
    lesion: bool | None = None


PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
"""Okabe and Ito's colour-blind-safe colours."""


@dataclass(frozen=True, kw_only=True)
class LabelScheme:
    """The labels of a data set, numbered 1..K in table order; 0 is background.

    Inside medseg a label array holds these class indices as int16, with ``IGNORE_INDEX`` where a
    voxel is to be ignored. File values come in at `medseg.io` and go out when a prediction is
    written.
    """

    labels: tuple[Label, ...]
    regions: tuple[Region, ...] = ()
    ignore_value: int | None = None
    label_map: Mapping[str, str] | None = field(default=None, hash=False)
    """Value, colour ``#rrggbb`` or name in annotation files to label name, ``background`` or
    ``ignore``; ``None``: files hold the table's values, 0 is background."""

    @property
    def has_background(self) -> bool:
        """Tell whether annotations can say that a voxel belongs to no label.

        False where every pixel has a class of its own (street scenes): class index 0 is then
        never true, and the network's output 0 is never right.
        """
        return self.label_map is None or BACKGROUND in self.label_map.values()

    def stored_values(self) -> dict[int, int]:
        """Return the class index of each value that annotation files may hold."""
        if self.label_map is None:
            table = {0: 0} | {label.value: i for i, label in enumerate(self.labels, start=1)}
            ignored = {} if self.ignore_value is None else {self.ignore_value: IGNORE_INDEX}
            return table | ignored
        values = ((stored_value(key), name) for key, name in self.label_map.items())
        return {value: self._meaning(name) for value, name in values if value is not None}

    def stored_names(self) -> dict[str, int]:
        """Return the class index of each name that annotation files may hold.

        Every label's own name, ``background`` and ``ignore`` stand for themselves unless the
        label map says otherwise.
        """
        own = (IGNORE, BACKGROUND, *(label.name for label in self.labels))
        meant = {name: name for name in own} | dict(self.label_map or {})
        return {key: self._meaning(name) for key, name in meant.items() if key != OTHER}

    @property
    def other(self) -> int | None:
        """Class index of all values and names that the label map does not list; None: an error."""
        name = (self.label_map or {}).get(OTHER)
        return None if name is None else self._meaning(name)

    def _meaning(self, name: str) -> int:
        """Return the class index of a label name or a reserved word; a label's name wins."""
        for i, label in enumerate(self.labels, start=1):
            if label.name == name:
                return i
        return IGNORE_INDEX if name == IGNORE else 0

    @property
    def activation(self) -> Literal["softmax", "sigmoid"]:
        """``sigmoid`` where overlapping regions are trained, else ``softmax``."""
        return "sigmoid" if self.regions else "softmax"

    @property
    def num_classes(self) -> int:
        """Count the network's output channels: background and labels, or the regions."""
        return len(self.regions) if self.regions else len(self.labels) + 1

    @property
    def structures(self) -> tuple[Structure, ...]:
        """List what is scored: the regions where there are any, else the labels."""
        index = {label.name: i for i, label in enumerate(self.labels, start=1)}
        rows: list[tuple[Label | Region, tuple[int, ...]]] = (
            [(r, tuple(index[name] for name in r.labels)) for r in self.regions]
            if self.regions
            else [(label, (index[label.name],)) for label in self.labels]
        )
        return tuple(
            Structure(
                name=row.name,
                indices=indices,
                color=row.color or PALETTE[i % len(PALETTE)],
                snomed=row.snomed,
                nsd_tolerance_mm=row.nsd_tolerance_mm,
                lesion=row.lesion,
            )
            for i, (row, indices) in enumerate(rows)
        )

    @property
    def output_names(self) -> tuple[str, ...]:
        """Name the network's output channels, background included where there is one."""
        names = tuple(s.name for s in self.structures)
        return names if self.regions else ("background", *names)

    def index_of(self, name: str) -> int:
        """Return the class index of a label name."""
        return next(i for i, label in enumerate(self.labels, start=1) if label.name == name)

    def to_values(self, indices: NDArray[np.int16]) -> NDArray[np.int16]:
        """Turn class indices into the table's file values; ignored voxels become background."""
        table = np.array([0, *(label.value for label in self.labels)], dtype=np.int16)
        values: NDArray[np.int16] = table[np.maximum(indices, 0)]
        return values

    def to_stored(self, indices: NDArray[np.int16]) -> NDArray[np.int32]:
        """Turn class indices into what annotation files hold: `stored_values` back again.

        Where several values mean one class, the first one of the label map is written; a colour is
        ``0xrrggbb``.

        Raises
        ------
        ValueError
            If an index occurs that no value means.
        """
        table = np.full(len(self.labels) + 2, np.iinfo(np.int32).min, dtype=np.int32)
        for value, index in reversed(self.stored_values().items()):
            table[index] = value  # IGNORE_INDEX is the last row
        stored: NDArray[np.int32] = table[indices]
        if indices.size and (stored == np.iinfo(np.int32).min).any():
            lost = np.unique(indices[stored == np.iinfo(np.int32).min]).tolist()
            raise ValueError(f"no value of the label map means the class indices {lost}")
        return stored

    def paint_order(self) -> tuple[tuple[int, int], ...]:
        """Pair each region's channel with the class index it paints, widest region first.

        A region paints the one of its labels that no narrower region claims (whole tumour paints
        oedema where core and enhancing tumour paint themselves on top).
        """
        order = sorted(range(len(self.regions)), key=lambda c: -len(self.regions[c].labels))
        pairs = []
        for position, channel in enumerate(order):
            narrower = {n for later in order[position + 1 :] for n in self.regions[later].labels}
            names = self.regions[channel].labels
            own = [name for name in names if name not in narrower] or list(names)
            pairs.append((channel, self.index_of(own[0])))
        return tuple(pairs)
