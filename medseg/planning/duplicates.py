"""One scan under two names: found by its voxels, warned of, and kept on one side of a split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping


def find_duplicates(digests: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """Return the sets of cases whose images hold the same voxels.

    Parameters
    ----------
    digests : mapping
        Case id to the hash of its image.

    Returns
    -------
    tuple of tuples of str
        Each of two ids or more, in the order of ``digests``.
    """
    cases: dict[str, list[str]] = defaultdict(list)
    for name, digest in digests.items():
        cases[digest].append(name)
    return tuple(tuple(names) for names in cases.values() if len(names) > 1)


def merge_groups(
    groups: Mapping[str, str | None], duplicates: tuple[tuple[str, ...], ...]
) -> dict[str, str | None]:
    """Put duplicates, and all that shares a group with one of them, into one group.

    Parameters
    ----------
    groups : mapping
        Case id to its group.
    duplicates : tuple of tuples of str
        From `find_duplicates`.

    Returns
    -------
    dict
        Case id to group; cases that are no duplicates and share no group with one keep theirs.
    """
    merged = dict(groups)
    for names in duplicates:
        united = {merged[name] for name in names} - {None}
        target = min((g for g in united if g is not None), default=f"duplicates of {names[0]}")
        for name, group in merged.items():
            if name in names or group in united:
                merged[name] = target
    return merged
