"""Put the planes of segments together to labels; where regions are trained, they may overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
MOST_NAMES = 63
"""Regions and labels that one annotation may combine: one bit each."""


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

    Where regions are among the meanings, a voxel gets the label that belongs to exactly the
    regions that hold it: in ``whole`` but not in ``core``, it is the label that ``whole`` has and
    ``core`` has not.

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
    regions = {region.name for region in scheme.regions}
    labels = {label.name for label in scheme.labels}
    if any(name in regions and name not in labels for name in meaning.values()):
        return _paint_regions(planes, shape, meaning, scheme, rule, where)
    return _paint_labels(planes, shape, meaning, scheme, rule, where)


def _paint_labels(
    planes: Iterable[Plane],
    shape: Sequence[int],
    meaning: Mapping[Segment, str],
    scheme: LabelScheme,
    rule: SegmentRule,
    where: Path,
) -> NDArray[np.int16]:
    """Paint segments that mean labels; the later label of the table wins, where it may."""
    count = len(scheme.labels)
    rank = {IGNORE: count + 1} | {label.name: i for i, label in enumerate(scheme.labels, start=1)}
    painted = np.zeros(tuple(shape), dtype=np.int16)
    clashes: Counter[tuple[int, int]] = Counter()
    for plane in planes:
        if plane.segment not in meaning:
            continue
        own = rank[meaning[plane.segment]]
        view = plane.view(painted)
        before = view[plane.mask]
        if rule.overlap == "refuse":
            for other in before[(before != 0) & (before != own)].tolist():
                clashes[min(other, own), max(other, own)] += 1
        view[plane.mask] = np.maximum(before, own)
    if clashes:
        by_rank = {i: name for name, i in rank.items()}
        pairs = [
            f"'{by_rank[low]}' and '{by_rank[high]}' on {shared} voxels"
            for (low, high), shared in clashes.most_common(SHOWN)
        ]
        raise _overlap(where, "; ".join(pairs))
    painted[painted > count] = IGNORE_INDEX
    return painted


def _paint_regions(
    planes: Iterable[Plane],
    shape: Sequence[int],
    meaning: Mapping[Segment, str],
    scheme: LabelScheme,
    rule: SegmentRule,
    where: Path,
) -> NDArray[np.int16]:
    """Mark each voxel with the names that hold it, then ask which label has just these."""
    names = list(dict.fromkeys(meaning.values()))
    if len(names) > MOST_NAMES:
        raise FormatError(
            f"{where}: {len(names)} regions and labels in one annotation, {MOST_NAMES} can overlap",
            "leave some out with the manifest's option 'structures'",
        )
    smallest = np.min_scalar_type((1 << len(names)) - 1)
    marks = np.zeros(tuple(shape), dtype=smallest)
    for plane in planes:
        if plane.segment in meaning:
            bit = smallest.type(1 << names.index(meaning[plane.segment]))
            plane.view(marks)[plane.mask] |= bit
    painted = np.zeros(tuple(shape), dtype=np.int16)
    for k in range(shape[-1]):  # slice by slice: the inverse takes 8 bytes a voxel
        codes, inverse = np.unique(marks[..., k], return_inverse=True)
        held = [frozenset(n for b, n in enumerate(names) if int(code) >> b & 1) for code in codes]
        table = [_label_in(one, names, scheme, rule, where) for one in held]
        painted[..., k] = np.array(table, dtype=np.int16)[inverse.reshape(shape[:-1])]
    return painted


def _label_in(
    held: frozenset[str],
    names: Sequence[str],
    scheme: LabelScheme,
    rule: SegmentRule,
    where: Path,
) -> int:
    """Return the class index of a voxel that these labels and regions hold."""
    if not held:
        return 0
    if IGNORE in held:
        return IGNORE_INDEX
    labels = [label.name for label in scheme.labels]
    own = [name for name in labels if name in held]
    used = [region for region in scheme.regions if region.name in names]
    if len(own) == 1 or (own and rule.overlap == "later"):
        return scheme.index_of(own[-1])
    around = {region.name for region in used if region.name in held}
    fits = [
        name
        for name in labels
        if {region.name for region in used if name in region.labels} == around
    ]
    words = " and ".join(f"'{name}'" for name in sorted(held))
    if len(own) > 1:
        raise _overlap(where, f"{words}")
    if len(fits) != 1:
        what = f"{len(fits)} labels have ({', '.join(fits)})" if fits else "no label has"
        raise FormatError(
            f"{where}: voxels are in {words} and in no other region, which {what}",
            "give the label table exactly one label for each combination of regions, or name the "
            "segment of the label itself in the manifest's option 'structures'",
        )
    return scheme.index_of(fits[0])


def _overlap(where: Path, what: str) -> FormatError:
    """Say that segments overlap, and how to mend it."""
    return FormatError(
        f"{where}: segments overlap: {what}",
        "describe them as 'regions' in the manifest, or write 'overlap: later' into its options, "
        "by which the label that stands later in the table wins",
    )
