"""Divide cases into test, folds and unlabelled: stratified by label, grouped by patient."""

from __future__ import annotations

import csv
import json
import logging
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from medseg.case import Split
from medseg.errors import ManifestError
from medseg.manifest import Splits
from medseg.planning.stratify import Member, stratify
from medseg.registry import nearest

logger = logging.getLogger(__name__)

Place = tuple[Split, int | None]
"""Split and fold of one case."""


@dataclass(frozen=True, kw_only=True)
class SplitCase:
    """What the division needs to know of a case."""

    id: str
    group: str | None = None
    """Cases of one group stay together; None: the case is a group of its own."""
    split: Split | None = None
    fold: int | None = None
    labels: tuple[str, ...] | None = None
    """Names of the labels that have a voxel in this case; None: not annotated."""


def assign_splits(
    cases: Sequence[SplitCase], splits: Splits
) -> dict[str, tuple[Split, int | None]]:
    """Give every case its split and, where it trains, the fold in which it validates.

    Unlabelled cases become ``predict``. What the split file, the data set or the list of test
    cases says stands; the rest is drawn so that each part holds its share of the cases and of
    every label, and no group is torn apart. The draw depends on ``splits.seed`` and the cases
    alone, not on their order.

    Parameters
    ----------
    cases : sequence of SplitCase
        All usable cases.
    splits : Splits
        The manifest's rule.

    Returns
    -------
    dict
        Case id to (split, fold); fold is 0-based and None outside training. A training case
        without a fold (only a split file can say so) is never used for validation.

    Raises
    ------
    ManifestError
        If no case is left to train on, or none to validate on.

    Warns
    -----
    Through the log, where the number of folds or the test share cannot be kept.
    """
    stated = _stated(sorted(cases, key=lambda case: case.id), splits)
    places: dict[str, Place] = {c.id: ("predict", None) for c in stated if not _divisible(c)}
    groups = _groups([c for c in stated if _divisible(c)])
    rng = np.random.default_rng(splits.seed)
    tests = _choose_tests(groups, splits, rng)
    for name in tests:
        places.update({case.id: ("test", None) for case in groups[name] if case.split != "train"})
    remaining = {
        name: tuple(c for c in members if c.id not in places) for name, members in groups.items()
    }
    remaining = {name: members for name, members in remaining.items() if members}
    if splits.file is not None:
        places.update({c.id: ("train", c.fold) for m in remaining.values() for c in m})
    else:
        places.update(_choose_folds(remaining, splits.folds, rng))
    _check_usable(places)
    return {case.id: places[case.id] for case in cases}


def check_ids(splits: Splits, known: Collection[str], where: str) -> None:
    """Raise a ManifestError if the split rule names a case that does not exist.

    Parameters
    ----------
    splits : Splits
        The manifest's rule.
    known : collection of str
        Ids of all listed cases, those that were set aside included.
    where : str
        The manifest, for the message.
    """
    named = set(splits.test) if isinstance(splits.test, tuple) else set()
    if splits.file is not None:
        named |= set(read_split_file(splits.file))
    for name in sorted(named - set(known)):
        raise ManifestError(
            f"{where}: splits name the case '{name}', which the reader did not find; "
            f"{nearest(name, known)}"
        )


def read_split_file(path: Path) -> dict[str, Place]:
    """Read case, split and fold from a CSV, or from JSON in one of two forms.

    JSON is either a list of ``{"case", "split", "fold"}`` or nnU-Net's list of
    ``{"train": [...], "val": [...]}``, one entry per fold.

    Raises
    ------
    ManifestError
        If the file is missing or holds something else.
    """
    if not path.is_file():
        raise ManifestError(f"splits.file {path} does not exist; correct the path or remove it")
    try:
        text = path.read_text(encoding="utf-8")
        rows = (
            json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.split("\n")))
        )
        if rows and "val" in rows[0]:
            return _nnunet_places(rows)
        return {str(row["case"]): _place(row) for row in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"splits.file {path} cannot be read ({type(error).__name__}: {error}); write a CSV "
            "with the columns case, split (train, test or predict) and fold"
        ) from error


def _nnunet_places(rows: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, Place]:
    """Turn nnU-Net's list of folds into places; a case never in ``val`` has no fold."""
    places: dict[str, Place] = {str(n): ("train", None) for row in rows for n in row["train"]}
    places.update({str(n): ("train", fold) for fold, row in enumerate(rows) for n in row["val"]})
    return places


def _place(row: Mapping[str, Any]) -> Place:
    """Read one row of a split file."""
    split, fold = row["split"], row.get("fold")
    if split not in get_args(Split):
        raise ValueError(f"split '{split}' of case {row['case']}")
    number = None if fold is None or str(fold).strip() == "" else int(fold)
    return split, number if split == "train" else None


def _stated(cases: Sequence[SplitCase], splits: Splits) -> list[SplitCase]:
    """Write what the manifest says into the cases; it comes before what the reader said."""
    if splits.file is not None:
        places = read_split_file(splits.file)
        missing = [c.id for c in cases if c.id not in places and c.labels is not None]
        if missing:
            logger.warning(
                "%s does not list %s; the annotated cases it leaves out train in every fold",
                splits.file,
                ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else ""),
            )
        everywhere: Place = ("train", None)
        places |= dict.fromkeys(missing, everywhere)
        return [
            replace(c, split=places[c.id][0], fold=places[c.id][1]) if c.id in places else c
            for c in cases
        ]
    if isinstance(splits.test, tuple):
        return [replace(c, split="test", fold=None) if c.id in splits.test else c for c in cases]
    return list(cases)


def _divisible(case: SplitCase) -> bool:
    """Tell whether a case can train or be tested."""
    if case.labels is None and case.split in ("train", "test"):
        logger.warning(
            "case %s is listed for '%s' but has no annotation; it is only segmented",
            case.id,
            case.split,
        )
    return case.labels is not None and case.split != "predict"


def _groups(cases: Sequence[SplitCase]) -> dict[Hashable, tuple[SplitCase, ...]]:
    """Collect cases by group, in case order."""
    groups: dict[Hashable, tuple[SplitCase, ...]] = {}
    for case in cases:
        key = ("case", case.id) if case.group is None else ("group", case.group)
        groups[key] = (*groups.get(key, ()), case)
    return groups


def _choose_tests(
    groups: Mapping[Hashable, tuple[SplitCase, ...]], splits: Splits, rng: np.random.Generator
) -> set[Hashable]:
    """Return the groups whose cases are tested, save those that the data set itself trains on."""
    said = {name: {c.split for c in members} for name, members in groups.items()}
    for name in (n for n, s in said.items() if {"train", "test"} <= s):
        logger.warning(
            "the data set puts cases of the group '%s' in training and in the test (%s); the "
            "test is too easy for them",
            name[1] if isinstance(name, tuple) else name,
            ", ".join(c.id for c in groups[name]),
        )
    fixed = {name for name, s in said.items() if "test" in s}
    share = splits.test
    if not isinstance(share, float | int) or splits.file is not None or share <= 0:
        return fixed
    total = sum(len(members) for members in groups.values())
    done = sum(c.split == "test" for members in groups.values() for c in members)
    free = {name: m for name, m in groups.items() if said[name] == {None}}
    keep = 0 if any("train" in s for s in said.values()) else 2  # a test needs a model
    wanted = max(round(share * total), 1) - done
    if wanted <= 0:
        return fixed
    if len(free) <= keep:
        if not fixed:
            logger.warning(
                "only %d groups of annotated cases: none is held out for the test", len(groups)
            )
        return fixed
    wanted = min(wanted, sum(len(m) for m in free.values()) - keep)
    size = sum(len(m) for m in free.values())
    bins = stratify(_members(free), (wanted / size, 1 - wanted / size), rng)
    chosen = [name for name, place in bins.items() if place == 0]
    return fixed | set(chosen[: len(free) - keep])


def _choose_folds(
    groups: Mapping[Hashable, tuple[SplitCase, ...]], folds: int, rng: np.random.Generator
) -> dict[str, Place]:
    """Spread the training groups over the folds; a fold that the data set states stands."""
    stated = {n: [c.fold for c in m if c.fold is not None] for n, m in groups.items()}
    known = [fold for values in stated.values() for fold in values]
    count = max([folds, *(fold + 1 for fold in known)]) if known else folds
    if not known and len(groups) < folds:
        count = max(len(groups), 1)
        logger.warning(
            "%d groups of training cases are too few for %d folds; there are %d",
            *(len(groups), folds, count),
        )
    fixed = {n: Counter(values).most_common(1)[0][0] for n, values in stated.items() if values}
    shares = (1 / count,) * count
    bins = stratify(_members(groups), shares, rng, fixed=fixed)
    return {
        case.id: ("train", bins[name] if case.fold is None else case.fold)
        for name, members in groups.items()
        for case in members
    }


def _members(groups: Mapping[Hashable, tuple[SplitCase, ...]]) -> dict[Hashable, Member]:
    """Count cases and labels of each group."""
    return {
        name: Member(
            size=len(members),
            labels=Counter(label for case in members for label in case.labels or ()),
        )
        for name, members in groups.items()
    }


def _check_usable(places: Mapping[str, Place]) -> None:
    """Refuse a division that cannot train or cannot validate."""
    folds = {fold for split, fold in places.values() if split == "train"}
    if len(folds) >= 2 and any(fold is not None for fold in folds):
        return
    count = sum(split == "train" for split, _ in places.values())
    if not count:
        raise ManifestError(
            "no annotated case is left for training; add annotated cases, or lower splits.test"
        )
    raise ManifestError(
        f"the {count} training case(s) are of one group, so none can train while another "
        "validates; add cases of another patient, set splits.test to 0, or give a splits.file"
    )
