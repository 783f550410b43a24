"""Values in a label file -> class indices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import CaseError
from medseg.io.remedy import SHOWN, counted, remedy_for_names, remedy_for_values
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.registry import nearest

TABLE_SPAN = 2**20
"""Widest range of values that is mapped through a table; wider ones are searched."""

Select = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class StoredValues:
    """What a label file holds, and where it came from."""

    case: str
    path: Path
    data: NDArray[Any]
    """(*spatial,), any number type."""
    names: Mapping[int, str] | None = None
    """What each value is called, where the file names its structures; None: values are values."""


def classes_of(
    stored: StoredValues, scheme: LabelScheme, select: Select | None
) -> NDArray[np.int16]:
    """Turn the values of a label file into class indices.

    Parameters
    ----------
    stored : StoredValues
    scheme : LabelScheme
        Label table and ignore value.
    select : mapping of str to tuple of int, optional
        Label name to the values that mean it; an empty tuple means any non-zero value. Values that
        are not selected are background, except the ignore value. ``None``: the values are the
        table's.

    Returns
    -------
    int16 ndarray of the same shape

    Raises
    ------
    CaseError
        If values are not whole numbers, or (without ``select``) are not in the table.
    """
    data = _whole_numbers(stored)
    present = _present(data)
    if select:
        index_of = _selected(stored, scheme, select, present)
        return _map(data, present, [index_of.get(value, 0) for value in present])
    index_of = _table(stored, scheme, present)
    unknown = [value for value in present if value not in index_of]
    if unknown and scheme.other is None:
        raise _unknown(stored, scheme, data, present, unknown)
    return _map(data, present, [index_of.get(value, scheme.other or 0) for value in present])


def _unknown(
    stored: StoredValues,
    scheme: LabelScheme,
    data: NDArray[Any],
    present: list[int],
    unknown: list[int],
) -> CaseError:
    """Name the values (or names) that mean nothing, how often they occur, and the remedy."""
    places = _map(data, present, list(range(len(present))))
    counts = dict(zip(present, np.bincount(places.ravel()).tolist(), strict=True))
    if stored.names is not None:
        named = [(stored.names.get(value, str(value)), counts[value]) for value in unknown]
        return CaseError(
            stored.case,
            f"{stored.path}: {counted(named, data.ndim)} are neither labels nor in the label map",
            remedy_for_names([name for name, _ in named], scheme),
        )
    table = "label table" if scheme.label_map is None else "label map"
    rows = [f"{label.value} {label.name}" for label in scheme.labels]
    if scheme.label_map is not None:
        rows = [f"{key} {name}" for key, name in scheme.label_map.items()]
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    listed = f"values {_listing(unknown)} are" if unknown[1:] else f"value {unknown[0]} is"
    return CaseError(
        stored.case,
        f"{stored.path}: {listed} not in the {table} "
        f"({', '.join(rows[:SHOWN])}{more}); "
        + counted([(str(value), counts[value]) for value in unknown], data.ndim),
        remedy_for_values(present, unknown, scheme),
    )


def values_in(stored: StoredValues) -> list[int]:
    """List the values that occur in a label file, ascending.

    Raises
    ------
    CaseError
        If values are not whole numbers.
    """
    return _present(_whole_numbers(stored))


def _whole_numbers(stored: StoredValues) -> NDArray[Any]:
    """Return the values as integers; labels stored as float are fine where they are whole."""
    data = stored.data
    if data.dtype == bool:
        return data.astype(np.uint8)
    if data.dtype.kind in "iu":
        return data
    whole = np.isfinite(data) & (np.abs(data) < 2**31) & (data == np.rint(data))
    if not whole.all():
        odd = np.unique(data[~whole])
        raise CaseError(
            stored.case,
            f"{stored.path}: a label holds whole numbers, found {_listing(odd.tolist())}",
            "export the label without interpolation or scaling, or exclude the case",
        )
    return data.astype(np.int32)


def _table(stored: StoredValues, scheme: LabelScheme, present: list[int]) -> dict[int, int]:
    """Map values to class indices by the label map or table; named ones by their names."""
    if stored.names is None:
        return scheme.stored_values()
    meant = scheme.stored_names()
    named = ((value, stored.names.get(value, str(value))) for value in present)
    return {value: meant[name] for value, name in named if name in meant}


def _selected(
    stored: StoredValues, scheme: LabelScheme, select: Select, present: list[int]
) -> dict[int, int]:
    """Map the selected values to class indices; a later name wins over an earlier one."""
    names = [label.name for label in scheme.labels]
    chosen = {} if scheme.ignore_value is None else {scheme.ignore_value: IGNORE_INDEX}
    for name, values in select.items():
        if name not in names:
            raise CaseError(
                stored.case,
                f"{stored.path}: selects '{name}', which no label has as its name",
                nearest(name, names),
            )
        for value in values or [v for v in present if v != 0]:
            chosen[value] = scheme.index_of(name)
    return chosen


def _present(data: NDArray[Any]) -> list[int]:
    """List the values that occur, ascending."""
    low, high = int(data.min()), int(data.max())
    if high - low < TABLE_SPAN:  # counting is some 20 times faster than sorting
        offset, positions = _positions(data, low)
        seen = np.zeros(high - offset + 1, dtype=bool)
        seen[positions] = True
        return [offset + int(v) for v in np.flatnonzero(seen)]
    return [int(v) for v in np.unique(data)]


def _map(data: NDArray[Any], present: list[int], indices: list[int]) -> NDArray[np.int16]:
    """Replace each present value by its class index."""
    low, high = present[0], present[-1]
    if high - low < TABLE_SPAN:
        offset, positions = _positions(data, low)
        table = np.zeros(high - offset + 1, dtype=np.int16)
        table[np.asarray(present) - offset] = indices
        mapped: NDArray[np.int16] = table[positions]
        return mapped
    position = np.searchsorted(np.asarray(present), data)
    return np.asarray(indices, dtype=np.int16)[position]


def _positions(data: NDArray[Any], low: int) -> tuple[int, NDArray[Any]]:
    """Return table positions of the values, and the value at position 0.

    Small unsigned values index a table as they are; a copy would take 8 times their memory.
    """
    if data.dtype in (np.uint8, np.uint16):
        return 0, data
    return low, data.astype(np.int64) - low


def _listing(values: list[Any]) -> str:
    """Write the first values, and how many more there are."""
    head = ", ".join(f"{v:g}" for v in values[:SHOWN])
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return head + more
