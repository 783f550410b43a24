"""From a config to an experiment: stages with all their settings, checked."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from pydantic_core import to_jsonable_python

from medseg.config import Document, check, field_names, read_document
from medseg.errors import ConfigError, ManifestError, MedsegError
from medseg.identifiers import Identifiers
from medseg.manifest import Manifest
from medseg.pipelines.sections import (
    General,
    Pipeline,
    own_fields,
    read_pipeline,
    shared_fields,
)
from medseg.registry import lookup, nearest
from medseg.settings import Compute, NetworkSettings, Tracking

logger = logging.getLogger(__name__)

SCRATCH = "_scratch"
"""Folder beside the runs for generated data; no experiment can have this name."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A config with everything resolved that can be resolved before running."""

    name: str
    seed: int
    manifest: Manifest | None
    stages: tuple[tuple[str, Any], ...]
    """(name, stage) in the order they run."""
    inputs: Mapping[str, Mapping[str, str]]
    compute: Compute
    tracking: Tracking
    resolved: Mapping[str, Any]
    """What ``config.yaml`` in the run folder holds; itself a valid config."""
    source: Path


def load_experiment(
    config: str | Path,
    overrides: Sequence[str] = (),
    *,
    data_root: Path | None = None,
    runs_dir: Path = Path("runs"),
    stages: Mapping[str, type] | None = None,
) -> Experiment:
    """Read a config and build its stages.

    Parameters
    ----------
    config : str or Path
        A file, or the name of a shipped config.
    overrides : sequence of str
        ``key.path=value``.
    data_root : Path, optional
        Folder that manifests' roots are relative to.
    runs_dir : Path
        Folder of the runs.
    stages : mapping, optional
        Stage classes by name; those of medseg where not given.

    Raises
    ------
    ConfigError
        With every mistake at once, one line each: ``file:line:col: key: what``.
    ManifestError, WiringError
        If the manifest or the pipeline is wrong.
    """
    document = _tracking_switch(read_document(config, overrides=overrides))
    if data_root is not None and not data_root.expanduser().is_dir():  # no made-up data for that
        raise ConfigError(
            f"--data-root {data_root}: no such folder; name the one that holds the data sets"
        )
    known = _stage_classes() if stages is None else stages
    named = str(document.data.get("pipeline", General.pipeline))
    pipeline = read_pipeline(named, known, document)
    document = _with_defaults(document, pipeline)
    table = {name: known[name] for name in pipeline.stages}
    sections = {name: kind for name, kind in table.items() if own_fields(kind, table)}
    general, problems = check(General, document.without(sections))
    problems = [_name_sections(line, sections) for line in problems]
    trouble, manifest = None, None
    if general is not None:
        problems += _check_general(general, document, table)
        manifest, trouble = _find_manifest(general, document, data_root, runs_dir)
        if manifest is not None and "report" in table:
            manifest = dataclasses.replace(manifest, identifiers=_identifiers(document))
    built = _build(table, document, _shared(general, manifest))
    problems += [line for _, lines in built.values() for line in lines]
    if problems or general is None:
        raise ConfigError("\n".join([*problems, *([str(trouble)] if trouble else [])]))
    if trouble is not None:
        raise trouble
    made = {name: built[name][0] for name in pipeline.stages}
    return Experiment(
        name=general.experiment,
        seed=general.seed,
        manifest=manifest,
        stages=tuple(made.items()),
        inputs=pipeline.inputs,
        compute=general.compute,
        tracking=general.tracking,
        resolved=_resolved(general, made, sections, document),
        source=document.source,
    )


def _stage_classes() -> Mapping[str, type]:
    from medseg.stages import STAGES

    return STAGES


def _shared(general: General | None, manifest: Manifest | None) -> dict[str, Any]:
    """Return the values that stages take from the top of the config; None: could not be made."""
    if general is None:
        return {"manifest": None, "seed": None, "network": None}
    return {"manifest": manifest, "seed": general.seed, "network": general.network}


def _tracking_switch(document: Document) -> Document:
    """Let ``tracking: off`` stand for ``tracking: {enabled: false}``."""
    if document.data.get("tracking") in (False, "off", True, "on"):
        enabled = document.data["tracking"] in (True, "on")
        return dataclasses.replace(
            document, data={**document.data, "tracking": {"enabled": enabled}}
        )
    return document


def _with_defaults(document: Document, pipeline: Pipeline) -> Document:
    """Put the pipeline's defaults under the config."""
    merged = OmegaConf.merge(
        OmegaConf.create(pipeline.defaults), OmegaConf.create(dict(document.data))
    )
    data = OmegaConf.to_container(merged)
    assert isinstance(data, dict)
    return dataclasses.replace(document, data={str(k): v for k, v in data.items()})


def _name_sections(line: str, sections: Mapping[str, type]) -> str:
    """Let the hint at an unknown top-level key name the stages' sections as well."""
    head, found, _ = line.partition(": no such key; ")
    if not found or "." in (key := head.rsplit(": ", 1)[-1]):
        return line
    return f"{head}{found}{nearest(key, [*field_names(General), *sections])}"


def _check_general(general: General, document: Document, table: Mapping[str, type]) -> list[str]:
    """Refuse names that are no good as a folder, and a manifest that is missing."""
    problems = []
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", general.experiment):
        problems.append(
            f"{document.at(('experiment',))}: experiment: '{general.experiment}' cannot name a "
            "folder; use letters, digits, '.', '_' and '-', and begin with a letter or digit"
        )
    needs = [name for name, kind in table.items() if _requires(kind, "manifest")]
    if not general.manifest and needs:
        problems.append(
            f"{document.at(('manifest',))}: manifest: is missing, and stage '{needs[0]}' needs it; "
            "name a data manifest, or write one with 'medseg init FOLDER'"
        )
    return [*problems, *_check_network(general.network.name, document)]


def _check_network(name: str, document: Document) -> list[str]:
    """Refuse a network that does not exist before the cases are read; the default one does."""
    if name == NetworkSettings.name:
        return []  # and torch is not imported for it
    from medseg.networks import NETWORKS, WRAPPED

    where = ("network", "name")
    try:
        lookup({**NETWORKS, **WRAPPED}, name, "network")
    except ConfigError as error:
        return [f"{document.at(where)}: {document.dotted(where)}: {error}"]
    return []


def _requires(kind: type, name: str) -> bool:
    """Whether a dataclass has a field of this name without a default."""
    missing = dataclasses.MISSING
    return any(
        f.name == name and f.default is missing and f.default_factory is missing
        for f in dataclasses.fields(kind)
    )


def _find_manifest(
    general: General, document: Document, data_root: Path | None, runs_dir: Path
) -> tuple[Manifest | None, MedsegError | None]:
    """Return the first manifest that is usable, or what is wrong with the first of them."""
    from medseg.manifest_file import load_manifest

    names = (general.manifest,) if isinstance(general.manifest, str) else general.manifest or ()
    trouble: MedsegError | None = None
    for name in names:
        where = _beside(name, document)
        try:
            found = load_manifest(where, data_root=data_root, scratch=runs_dir / SCRATCH)
        except ManifestError as error:
            if trouble is None and len(names) > 1:
                logger.warning("manifest '%s' cannot be used, trying the next: %s", name, error)
            trouble = trouble or error
        else:
            return found, None
    return None, trouble


def _identifiers(document: Document) -> Identifiers:
    """Return ``report.identifiers``; the report's own check refuses other words."""
    section = document.data.get("report")
    asked = section.get("identifiers") if isinstance(section, Mapping) else None
    return "keep" if asked == "keep" else "hash" if asked == "hash" else "drop"


def _beside(name: str, document: Document) -> str | Path:
    """Return a path relative to the config as an absolute one; leave other names alone."""
    path = document.source.parent / name
    return path.resolve() if path.is_file() else name


def _build(
    table: Mapping[str, type], document: Document, shared: Mapping[str, Any]
) -> dict[str, tuple[Any, list[str]]]:
    """Build each stage with what it takes from elsewhere; those that take from others come last."""
    built: dict[str, tuple[Any, list[str]]] = {}

    def one(name: str) -> Any:
        if name not in built:
            kind = table[name]
            taken = shared_fields(kind, table)
            given = {f: one(f) if f in table else shared[f] for f in taken}
            try:
                section = document.section(name)
            except ConfigError as error:
                built[name] = (None, [str(error)])
                return None
            built[name] = check(kind, section, given=given)
        return built[name][0]

    for name in table:
        one(name)
    return built


def _resolved(
    general: General, made: Mapping[str, Any], sections: Mapping[str, type], document: Document
) -> dict[str, Any]:
    """Return the config with every default written out."""
    config: dict[str, Any] = to_jsonable_python(general)
    config["pipeline"] = str(_beside(general.pipeline, document))
    if isinstance(general.manifest, str):
        config["manifest"] = str(_beside(general.manifest, document))
    elif general.manifest:
        config["manifest"] = [str(_beside(name, document)) for name in general.manifest]
    for name, kind in sections.items():
        fields = own_fields(kind, made)
        config[name] = {key: to_jsonable_python(getattr(made[name], key)) for key in fields}
    return config
