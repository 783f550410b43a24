"""What the command line says of how to run, and how a run ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.artefacts import SetAside
from medseg.errors import ConfigError
from medseg.pipelines.progress import Display
from medseg.pipelines.wiring import Node
from medseg.registry import nearest

DONE, FAILED, SET_ASIDE, INTERRUPTED = 0, 1, 3, 130
"""Exit codes; 2 (the command or a file of the user's is wrong) is an exception's."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says of how to run; never part of a result's key."""

    runs_dir: Path = Path("runs")
    device: str | None = None
    """Overrides ``compute.device``."""
    start: str | None = None
    """``--from``: recompute this stage and all after it."""
    until: str | None = None
    force: tuple[str, ...] = ()
    """Stages to recompute."""
    display: Display = field(default_factory=lambda: Display(quiet=True))


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    exit_code: int
    folder: Path
    ran: tuple[str, ...]
    """Stages that were computed; the others were done already."""
    set_aside: tuple[SetAside, ...] = ()
    artefacts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Forecast:
    """What ``--dry-run`` says of one stage."""

    stage: str
    state: str
    key: str = ""


def select(nodes: tuple[Node, ...], options: Options) -> tuple[list[str], tuple[Node, ...]]:
    """Return the stages to recompute, and the nodes up to ``--until``."""
    names = [node.name for node in nodes]
    for flag, stages in (
        ("--from", [options.start]),
        ("--until", [options.until]),
        ("--force", options.force),
    ):
        for stage in stages:
            if stage is not None and stage not in names:
                raise ConfigError(f"{flag}: no stage '{stage}' here; {nearest(stage, names)}")
    last = names.index(options.until) + 1 if options.until else len(names)
    first = names.index(options.start) if options.start else last
    if options.start and first >= last:
        raise ConfigError(f"--from {options.start} comes after --until {options.until}")
    asked = [n for i, n in enumerate(names[:last]) if i >= first or n in options.force]
    return asked, nodes[:last]
