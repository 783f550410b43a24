"""Which keys a config has: the general ones, and one section per stage of its pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medseg.config import Document, check, read_document
from medseg.errors import ConfigError
from medseg.registry import nearest
from medseg.settings import Compute, NetworkSettings, Tracking


@dataclass(frozen=True, kw_only=True)
class General:
    """The keys of a config that belong to no single stage."""

    experiment: str
    """Name of the run folder and of the MLflow experiment: letters, digits, ``.``, ``_``, ``-``."""
    pipeline: str = "volume"
    """A shipped pipeline, or a path."""
    manifest: str | tuple[str, ...] | None = None
    """A shipped data manifest, or a path; of several, the first whose data is there."""
    seed: int = 0
    """Everything random follows from it."""
    compute: Compute = field(default_factory=Compute)
    tracking: Tracking = field(default_factory=Tracking)
    network: NetworkSettings = field(default_factory=NetworkSettings)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A pipeline file."""

    stages: tuple[str, ...]
    """Stages in the order they run; ``medseg list stages`` prints the names."""
    inputs: dict[str, dict[str, str]] = field(default_factory=dict)
    """Per stage, parameter to artefact, where a stage is to read another artefact."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Settings under those of the config."""


SHARED = ("manifest", "seed", "network")
"""Top-level keys that fill stage fields of the same name."""


def read_pipeline(name: str, table: Mapping[str, type], document: Document) -> Pipeline:
    """Return the pipeline a config names.

    Raises
    ------
    ConfigError
        If there is no such file, or it names a stage that is not in ``table``.
    """
    place = f"{document.at(('pipeline',))}: pipeline"
    try:
        text = read_document(name, kind="pipelines", beside=document.source.parent)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error
    pipeline, problems = check(Pipeline, text)
    for position, stage in enumerate(pipeline.stages if pipeline else ()):
        where = text.at(("stages", position))
        if stage not in table:
            problems.append(f"{where}: stages: no stage '{stage}'; {nearest(stage, table)}")
        elif pipeline and stage in pipeline.stages[:position]:
            problems.append(f"{where}: stages: '{stage}' stands twice; keep one of them")
    if problems or pipeline is None:
        raise ConfigError("\n".join(problems))
    return pipeline


def shared_fields(kind: type, stages: Mapping[str, type]) -> tuple[str, ...]:
    """Return a stage's fields that a top-level key or another stage's section fills."""
    names = [f.name for f in dataclasses.fields(kind)]
    return tuple(name for name in names if name in SHARED or name in stages)


def own_fields(kind: type, stages: Mapping[str, type]) -> tuple[str, ...]:
    """Return the fields that make up a stage's section; a stage without any has no section."""
    shared = shared_fields(kind, stages)
    return tuple(f.name for f in dataclasses.fields(kind) if f.init and f.name not in shared)
