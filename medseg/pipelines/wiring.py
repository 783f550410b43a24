"""Check, before any work, that every stage finds what it reads."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from medseg.errors import WiringError
from medseg.registry import nearest


@dataclass(frozen=True)
class Node:
    """One stage with its place in the pipeline."""

    name: str
    stage: Any
    reads: Mapping[str, str]
    """Parameter of ``run`` to the artefact that feeds it."""
    writes: str
    kind: Any
    """Type of what it writes: the return annotation of ``run``."""


def wire(
    stages: Sequence[tuple[str, Any]], inputs: Mapping[str, Mapping[str, str]] | None = None
) -> tuple[Node, ...]:
    """Connect stages by the names of their parameters.

    Parameters
    ----------
    stages : sequence of (name, stage)
        In the order they run. A stage has ``writes`` and ``run``; every parameter of ``run`` but
        ``context`` is an artefact that an earlier stage writes.
    inputs : mapping, optional
        Per stage, parameter to artefact, where the names differ.

    Raises
    ------
    WiringError
        Naming the stage, the parameter and the nearest artefact, one line per mistake.
    """
    feeds = dict(inputs or {})
    problems = _unknown_inputs(stages, feeds)
    made: dict[str, Node] = {}
    for name, stage in stages:
        hints = _hints(name, stage)
        reads = {parameter: parameter for parameter in _parameters(stage)}
        reads |= {p: a for p, a in feeds.get(name, {}).items() if p in reads}
        for parameter, artefact in reads.items():
            problems += _mismatch(name, parameter, artefact, hints.get(parameter), made)
        node = Node(name, stage, reads, stage.writes, hints["return"])
        if node.writes in made:
            problems.append(
                f"stage '{name}' writes '{node.writes}', which '{made[node.writes].name}' wrote "
                "already; leave one of them out of the pipeline"
            )
        made.setdefault(node.writes, node)
    if problems:
        raise WiringError("\n".join(problems))
    return tuple(made.values())


def _parameters(stage: Any) -> list[str]:
    """Return the artefacts that ``run`` names."""
    return [name for name in inspect.signature(stage.run).parameters if name != "context"]


def _hints(name: str, stage: Any) -> dict[str, Any]:
    """Return the annotations of ``run``; the return type must be there."""
    if not hasattr(stage, "writes") or not callable(getattr(stage, "run", None)):
        raise WiringError(
            f"stage '{name}' ({type(stage).__name__}) lacks 'writes' or 'run'; see "
            "medseg/stages/resample.py for the shape of a stage"
        )
    try:
        hints = get_type_hints(stage.run)
    except NameError as error:
        raise WiringError(
            f"stage '{name}': the annotations of run cannot be read ({error}); import the types of "
            "artefacts at the top of the stage's module"
        ) from error
    if hints.get("return") in (None, type(None)):
        raise WiringError(f"stage '{name}': run has no return annotation; name the artefact's type")
    return hints


def _mismatch(
    name: str, parameter: str, artefact: str, wanted: Any, made: Mapping[str, Node]
) -> list[str]:
    """Describe what is wrong with one input, if anything."""
    if artefact not in made:
        return [
            f"stage '{name}' reads '{artefact}' (parameter '{parameter}'), which no stage before "
            f"it writes; {nearest(artefact, made)}"
        ]
    source = made[artefact]
    if wanted != source.kind:
        return [
            f"stage '{name}' reads '{parameter}' as {_name(wanted)}, but '{source.name}' writes "
            f"'{artefact}' as {_name(source.kind)}; feed it another artefact under 'inputs'"
        ]
    return []


def _unknown_inputs(
    stages: Sequence[tuple[str, Any]], feeds: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Describe entries of ``inputs`` that name no stage or no parameter."""
    table = dict(stages)
    problems = []
    for name, pairs in feeds.items():
        if name not in table:
            problems.append(f"inputs: no stage '{name}' in the pipeline; {nearest(name, table)}")
            continue
        known = _parameters(table[name])
        problems += [
            f"inputs: stage '{name}' has no parameter '{parameter}'; {nearest(parameter, known)}"
            for parameter in pairs
            if parameter not in known
        ]
    return problems


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint)) if hint is not None else "anything"
