"""Put the planes of segments together to labels; where regions are trained, they may overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.case import SegmentRule
from medseg.errors import FormatError
from medseg.io.segments import Segment
from medseg.label_map import IGNORE
from medseg.labels import IGNORE_INDEX, LabelScheme

SHOWN = 12

Names = frozenset[str]
"""The labels, regions and reserved words whose segments hold a voxel."""


@dataclass(frozen=True, kw_only=True)
class Plane:
    """The pixels of one segment on one plane of a grid."""

    segment: Segment
    view: Callable[[NDArray[Any]], NDArray[Any]]
    """Takes a volume on the grid to the writable part (rows, columns) that the plane covers."""
    mask: NDArray[np.bool_]
    """(rows, columns)."""


def paint(
    planes: Iterable[Plane],
    shape: Sequence[int],
    meaning: Mapping[Segment, str],
    scheme: LabelScheme,
    rule: SegmentRule,
    where: Path,
) -> NDArray[np.int16]:
    """Put the planes of segments together to class indices.

    Each voxel first gets the set of names that hold it, then the label that this set means. Where
    regions are among the names, that is the label which belongs to exactly the regions that hold
    the voxel: in ``whole`` but not in ``core``, it is the label that ``whole`` has and ``core`` has
    not. What one segment says to ignore is ignored, whatever others say.

    Parameters
    ----------
    planes : iterable of Plane
        In any order.
    shape : sequence of int
        Of the grid.
    meaning : mapping of Segment to str
        As `meanings` returns it; planes of other segments are background.
    scheme, rule, where
        See `meanings`.

    Raises
    ------
    FormatError
        If segments overlap and neither regions nor ``rule.overlap`` say what the voxels are.
    """
    marks, sets = _mark(planes, shape, meaning)
    counts = _counts(marks, len(sets))
    labels = [label.name for label in scheme.labels]
    regions = {r.name: frozenset(r.labels) for r in scheme.regions if r.name not in labels}
    regions = {name: held for name, held in regions.items() if name in meaning.values()}
    table = np.zeros(len(sets), dtype=np.int16)
    clashes: Counter[tuple[str, str]] = Counter()
    for number, held in enumerate(sets):
        own = [name for name in labels if name in held]
        if not held or not counts[number]:
            continue
        if IGNORE in held:
            table[number] = IGNORE_INDEX
        elif len(own) > 1 and rule.overlap == "refuse":
            clashes.update(dict.fromkeys(combinations(own, 2), counts[number]))
        else:
            name = own[-1] if own else _label_in(held, labels, regions, where)
            table[number] = scheme.index_of(name)
    if clashes:
        raise _overlap(clashes, where)
    painted: NDArray[np.int16] = table[marks]
    return painted


def _mark(
    planes: Iterable[Plane], shape: Sequence[int], meaning: Mapping[Segment, str]
) -> tuple[NDArray[np.int32], list[Names]]:
    """Number the sets of names that hold voxels: the volume of numbers, and the sets by number."""
    marks = np.zeros(tuple(shape), dtype=np.int32)
    numbers: dict[Names, int] = {frozenset(): 0}
    for plane in planes:
        if plane.segment not in meaning:
            continue
        sets = list(numbers)
        view = plane.view(marks)
        before = view[plane.mask]
        after = np.zeros(len(sets), dtype=np.int32)
        for number in np.flatnonzero(np.bincount(before, minlength=len(sets))):
            joined = sets[number] | {meaning[plane.segment]}
            after[number] = numbers.setdefault(joined, len(numbers))
        view[plane.mask] = after[before]
    return marks, list(numbers)


def _counts(marks: NDArray[np.int32], size: int) -> list[int]:
    """Count each number, slice by slice: counting takes 8 bytes a voxel."""
    counts = np.zeros(size, dtype=np.int64)
    for k in range(marks.shape[-1]):
        counts += np.bincount(marks[..., k].ravel(), minlength=size)
    found: list[int] = counts.tolist()
    return found


def _label_in(held: Names, labels: Sequence[str], regions: Mapping[str, Names], where: Path) -> str:
    """Return the label that belongs to just these regions."""
    fits = [
        name
        for name in labels
        if {region for region, members in regions.items() if name in members} == held
    ]
    if len(fits) != 1:
        what = f"{len(fits)} labels have ({', '.join(fits)})" if fits else "no label has"
        raise FormatError(
            f"{where}: voxels are in {_words(held)} and in no other region, which {what}",
            "give the label table exactly one label for each combination of regions, or name the "
            "segment of the label itself in the manifest's option 'structures'",
        )
    return fits[0]


def _overlap(clashes: Counter[tuple[str, str]], where: Path) -> FormatError:
    """Say which labels overlap, the largest overlaps first, and how to mend it."""
    listing = "; ".join(
        f"{_words(pair)} on {count} voxels" for pair, count in clashes.most_common(SHOWN)
    )
    return FormatError(
        f"{where}: segments overlap: {listing}",
        "describe them as 'regions' in the manifest, or write 'overlap: later' into its options, "
        "by which the label that stands later in the table wins",
    )


def _words(names: Iterable[str]) -> str:
    """List names for a message."""
    return " and ".join(f"'{name}'" for name in sorted(names))
