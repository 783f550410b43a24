"""Iterative stratification of groups that carry several labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Member:
    """A group that is placed as a whole."""

    size: int
    """Cases in it."""
    labels: Counter[str]
    """Label to the number of its cases that show it."""


def stratify(
    members: Mapping[Hashable, Member],
    shares: Sequence[float],
    rng: np.random.Generator,
    fixed: Mapping[Hashable, int] | None = None,
) -> dict[Hashable, int]:
    """Place groups in bins so that each bin gets its share of the cases and of every label.

    The rarest label goes first; each group with it joins the bin that still wants most of that
    label, then the one that wants most cases, then a random one [1]_. Within a label larger
    groups go first, since small ones fill the gaps.

    Parameters
    ----------
    members : mapping
        Group to its size and labels.
    shares : sequence of float
        Share of each bin; they sum to 1.
    rng : numpy Generator
        Breaks ties.
    fixed : mapping, optional
        Groups whose bin is known.

    Returns
    -------
    dict
        Group to bin, in the order of ``members``.

    References
    ----------
    .. [1] Sechidis, Tsoumakas and Vlahavas, On the stratification of multi-label data, ECML
       PKDD 2011, algorithm 1.
    """
    names = list(members)
    placed: dict[Hashable, int] = dict(fixed or {})
    labels = sorted({label for member in members.values() for label in member.labels})
    wanted = {label: _desire(labels_of(members, label), shares) for label in labels}
    cases = _desire(sum(member.size for member in members.values()), shares)
    for name, where in placed.items():
        _take(members[name], where, wanted, cases)
    rank = {names[i]: position for position, i in enumerate(rng.permutation(len(names)))}
    open_names = [name for name in names if name not in placed]
    while open_names:
        label = _rarest(members, open_names, labels)
        batch = [n for n in open_names if label is None or members[n].labels[label]]
        batch.sort(key=lambda n: (-members[n].size, rank[n]))
        for name in batch:
            want = cases if label is None else wanted[label]
            tie = rng.permutation(len(shares))
            where = max(range(len(shares)), key=lambda b: (_near(want[b]), _near(cases[b]), tie[b]))
            placed[name] = where
            _take(members[name], where, wanted, cases)
        chosen = set(batch)
        open_names = [name for name in open_names if name not in chosen]
    return {name: placed[name] for name in names}


def labels_of(members: Mapping[Hashable, Member], label: str) -> int:
    """Count the cases that show a label."""
    return sum(member.labels[label] for member in members.values())


def _desire(total: float, shares: Sequence[float]) -> list[float]:
    """Divide a total by shares."""
    return [total * share for share in shares]


def _near(value: float) -> float:
    """Round away what floating point adds, so that ties are ties."""
    return round(value, 9)


def _take(
    member: Member, where: int, wanted: Mapping[str, list[float]], cases: list[float]
) -> None:
    """Subtract a placed group from what its bin wants."""
    cases[where] -= member.size
    for label, count in member.labels.items():
        wanted[label][where] -= count


def _rarest(
    members: Mapping[Hashable, Member], names: Sequence[Hashable], labels: Sequence[str]
) -> str | None:
    """Return the label with the fewest open cases, None where no open group has one."""
    counts = {label: sum(members[n].labels[label] for n in names) for label in labels}
    present = [label for label in labels if counts[label]]
    return min(present, key=lambda label: (counts[label], label)) if present else None
