"""May runs be compared? Which cases both have, whose they are, and what speaks against it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medseg.reporting.score_table import Key, ScoreTable

NAMED = 3
"""Cases that a message names."""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A case that a run lacks and another has."""

    run: str
    case: str
    labels: tuple[str, ...]


def patients_of(
    tables: Sequence[ScoreTable], cases: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Return whose scan each case is, and a warning where the runs tell it differently.

    The first run that names patients decides; only which cases belong together matters, since
    every run may have named the patients anew.
    """
    named = [table for table in tables if any(case in table.patients for case in cases)]
    if not named:
        return {}, []
    first = named[0]
    joined = [_together(table, cases) for table in named]
    others = [t.name for t, one in zip(named, joined, strict=True) if one != joined[0]]
    doubts = []
    if others:
        doubts.append(
            f"{', '.join(others)} and {first.name} do not agree on which cases are of one patient; "
            f"taken from {first.name}"
        )
    return {c: f"patient {first.patients[c]}" for c in cases if c in first.patients}, doubts


def _together(table: ScoreTable, cases: Sequence[str]) -> set[frozenset[str]]:
    """Return the cases of each patient."""
    found: dict[str, set[str]] = {}
    for case in cases:
        found.setdefault(table.patients.get(case, f"\0{case}"), set()).add(case)
    return {frozenset(members) for members in found.values()}


def missing_cases(scores: Mapping[str, Mapping[Key, object]]) -> tuple[Missing, ...]:
    """List per run the cases, with their labels, that another run has."""
    every = dict.fromkeys(key for rows in scores.values() for key in rows)
    found: dict[tuple[str, str], list[str]] = {}
    for run, rows in scores.items():
        for label, case in every:
            if (label, case) not in rows:
                found.setdefault((run, case), []).append(label)
    return tuple(
        Missing(run=run, case=case, labels=tuple(labels)) for (run, case), labels in found.items()
    )


def nothing_shared(scores: Mapping[str, Mapping[Key, object]], split: str) -> str:
    """Say what the runs have instead of a common case."""
    parts = []
    for run, rows in scores.items():
        names = [f"{case} ({label})" for label, case in rows]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        parts.append(f"{run} has {', '.join(names[:NAMED])}{more}")
    return (
        f"no case and label of split {split} is in every run: {'; '.join(parts)}; compare runs "
        "over the same data and split"
    )


def nsd_tolerances(rows: Iterable[Mapping[str, float]]) -> list[float]:
    """Return the different tolerances of the NSD; a row may leave its cell empty."""
    found = {row.get(f"nsd_tolerance_{unit}", math.nan) for row in rows for unit in ("mm", "px")}
    return sorted(value for value in found if not math.isnan(value))


def doubts_of_references(
    tables: Sequence[ScoreTable],
    scores: Mapping[str, Mapping[Key, Mapping[str, float]]],
    shared: Sequence[Key],
) -> list[str]:
    """Warn where the runs may not have been judged by the same references."""
    warnings = []
    digests = {str(t.data["digest"]) for t in tables if t.data.get("digest")}
    if len(digests) > 1:
        warnings.append("the runs report different data (their fingerprints differ)")
    if len({t.data["origin"] for t in tables if t.data.get("origin")} & {"real", "SYNTHETIC"}) > 1:
        warnings.append("some runs are of real and some of SYNTHETIC data")
    for column in ("reference_volume_ml", "reference_volume_px"):
        other = [
            key
            for key in shared
            if not _equal([rows[key].get(column, math.nan) for rows in scores.values()])
        ]
        if other:
            warnings.append(
                f"{len(other)} case(s) have another {column} in another run, such as "
                f"{other[0][1]} ({other[0][0]}): were they scored against the same reference?"
            )
    return warnings


def _equal(values: Sequence[float]) -> bool:
    """Tell whether the defined ones of some values are the same, but for rounding."""
    known = [v for v in values if not math.isnan(v)]
    return all(math.isclose(v, known[0], rel_tol=1e-6, abs_tol=1e-9) for v in known)
