"""Typed settings from YAML: merge, override, and report every mistake at once with its place."""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medseg.config_errors import explain, fields_at
from medseg.errors import ConfigError, MedsegError
from medseg.shipped import Kind, find_document
from medseg.yaml_marks import KeyPath, parse_value, read_marked

T = TypeVar("T")

__all__ = ["Document", "KeyPath", "check", "json_schema", "read_document", "validate"]


@dataclass(frozen=True)
class Document:
    """A YAML file merged with what it extends and with overrides."""

    data: dict[str, Any]
    where: Mapping[KeyPath, str] = field(default_factory=dict)
    """Key path to ``file:line:column``, or to ``command line`` for an override."""
    source: Path = field(default_factory=Path)
    prefix: str = ""
    """Dotted key in front of every key of this document, where it is a section of another."""

    def at(self, path: KeyPath) -> str:
        """Return where a key stands, or where the nearest key above it stands."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.where:
                return self.where[path[:length]]
        return self.where.get((), str(self.source))

    def rank(self, path: KeyPath) -> int:
        """Return the position of a key in reading order, overrides last."""
        order = list(self.where)
        known = [path[:n] for n in range(len(path), 0, -1) if path[:n] in self.where]
        return order.index(known[0]) if known else len(order)

    def section(self, key: str) -> Document:
        """Return the mapping under a key as a document of its own; empty where there is none."""
        inner = self.data.get(key) or {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{self.at((key,))}: {self.dotted((key,))}: should be a mapping")
        where = {path[1:]: spot for path, spot in self.where.items() if path[:1] == (key,)}
        return Document(inner, where, self.source, self.dotted((key,)))

    def without(self, keys: Collection[str]) -> Document:
        """Return the document less some of its top-level keys."""
        kept = {key: value for key, value in self.data.items() if key not in keys}
        return replace(self, data=kept)

    def dotted(self, path: KeyPath) -> str:
        """Write a key path as users do: ``train.loss.name``."""
        return ".".join([*([self.prefix] if self.prefix else []), *map(str, path)])


def read_document(
    name: str | Path,
    *,
    kind: Kind = "configs",
    beside: Path | None = None,
    overrides: Sequence[str] = (),
    error: type[MedsegError] = ConfigError,
) -> Document:
    """Read a YAML file, what it ``extends``, and overrides, merged in that order.

    Parameters
    ----------
    name : str or Path
        A path, or the name of a shipped file.
    kind : {"configs", "pipelines", "data_manifests"}
        Which shipped folder names are looked up in, here and for ``extends``.
    beside : Path, optional
        Folder that a relative ``name`` is looked up in first.
    overrides : sequence of str
        ``key.path=value``, values read as YAML; the last one wins.
    error : type
        What to raise.

    Returns
    -------
    Document
        Interpolations (``${seed}``) are resolved and ``extends`` is gone.

    Raises
    ------
    ConfigError
        If a file is missing or is not YAML, if files extend each other in a circle, or if an
        override is not ``key=value``.
    """
    try:
        path = find_document(name, kind, beside=beside)
        return _override(_read_chain(path, kind, ()), overrides)
    except ConfigError as problem:
        if error is ConfigError:
            raise
        raise error(str(problem)) from problem


def _read_chain(path: Path, kind: Kind, above: tuple[Path, ...]) -> Document:
    """Read a file over the files it extends."""
    if path.resolve() in above:
        circle = " -> ".join(p.name for p in (*above, path))
        raise ConfigError(f"{path}: files extend each other in a circle ({circle}); break it")
    data, where = read_marked(path)
    spot = where.pop(("extends",), str(path))
    names = data.pop("extends", [])
    document = Document({}, {}, path)
    for base in [names] if isinstance(names, str) else names:
        try:
            found = find_document(str(base), kind, beside=path.parent)
        except ConfigError as error:
            raise ConfigError(f"{spot}: extends: {error}") from error
        document = _merge(document, _read_chain(found, kind, (*above, path.resolve())))
    return _merge(document, Document(data, where, path))


def _merge(base: Document, top: Document) -> Document:
    """Merge mappings key by key; anything else (a list, a number) is replaced."""
    data = _merge_mappings(base.data, top.data)
    return Document(data, {**base.where, **top.where}, top.source)


def _merge_mappings(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``top`` over ``base`` at every depth; ``???`` stands for what is below it."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _merge_mappings(below, value)
        elif value != "???" or key not in base:
            merged[key] = value
    return merged


def _override(document: Document, overrides: Sequence[str]) -> Document:
    """Apply ``key=value`` arguments, then resolve interpolations."""
    tree = OmegaConf.create(document.data)
    where = dict(document.where)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"command line: '{text}' is not an override; write key.path=value, "
                "such as train.budget=10min"
            )
        key = key.strip()
        try:
            new = parse_value(value)
            both = isinstance(new, Mapping) and OmegaConf.is_dict(OmegaConf.select(tree, key))
            OmegaConf.update(tree, key, new, merge=both)  # else a list would have to meet a list
        except (ConfigError, OmegaConfBaseException, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            if value.count("{") > value.count("}") or value.count("[") > value.count("]"):
                reason = f"the shell cut it at a space; write quotes around it, '{key}={{...}}'"
            raise ConfigError(
                f"command line: {key}: cannot be set to '{value}': {reason}"
            ) from error
        path: KeyPath = tuple(int(k) if k.isdigit() else k for k in key.split("."))
        where[path] = "command line"
        for length in range(1, len(path)):
            where.setdefault(path[:length], "command line")
    try:
        data = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{document.source}: {reason}") from error
    assert isinstance(data, dict)
    return Document(data, where, document.source)  # type: ignore[arg-type]


def validate(kind: type[T], document: Document, *, error: type[MedsegError] = ConfigError) -> T:
    """Turn a document into an object of ``kind``.

    Parameters
    ----------
    kind : type
        A (frozen) dataclass, whose fields may be dataclasses, tuples and mappings of them.
    document : Document
        What `read_document` returned, or a section of it.
    error : type
        What to raise.

    Raises
    ------
    ConfigError
        With one line per mistake, ``file:line:col: key: what; did you mean 'x'?``. Keys that the
        dataclass does not have are mistakes at every depth.
    """
    value, problems = check(kind, document)
    if problems or value is None:
        raise error("\n".join(problems))
    return value


def check(
    kind: type[T], document: Document, *, given: Mapping[str, Any] | None = None
) -> tuple[T | None, list[str]]:
    """Like `validate`, but return the mistakes, so that a caller can collect more of them.

    Parameters
    ----------
    kind : type
        A dataclass.
    document : Document
        Values by field.
    given : mapping, optional
        Values of fields that the document must not set (they come from elsewhere). Mistakes in
        them are not reported; a value of None stands for one that could not be made.
    """
    from pydantic import ValidationError

    elsewhere = dict(given or {})
    taken = [key for key in document.data if key in elsewhere]
    lines = [
        f"{document.at((key,))}: {document.dotted((key,))}: is set at the top of the config as "
        f"'{key}', not here"
        for key in taken
    ]
    values = {key: value for key, value in document.data.items() if key not in elsewhere}
    values |= {key: value for key, value in elsewhere.items() if value is not None}
    made: T | None = None
    try:
        made = _adapter(kind).validate_python((values,))[0]
    except ValidationError as error:
        found = explain(kind, values, error.errors(), hidden=elsewhere)
        lines += [
            f"{document.at(path)}: {document.dotted(path)}: {what}"
            for path, what in sorted(found, key=lambda one: document.rank(one[0]))
        ]
    except MedsegError as error:
        lines.append(f"{document.at(())}: {error}")
    return (None if lines else made), lines


def json_schema(kind: type) -> dict[str, Any]:
    """Return the JSON Schema of a dataclass; docstrings under fields become descriptions."""
    schema = _adapter(kind).json_schema()
    name = schema["prefixItems"][0]["$ref"].rsplit("/", 1)[-1]
    definitions: dict[str, Any] = schema["$defs"]
    top: dict[str, Any] = definitions.pop(name)
    for base in filter(is_dataclass, kind.__mro__[1:]):  # pydantic reads kind alone
        for key, row in json_schema(base)["properties"].items():
            known = {"description": row["description"]} if "description" in row else {}
            top["properties"][key] = dict(sorted((known | top["properties"][key]).items()))
    return {**top, "$defs": definitions}


def field_names(kind: type) -> tuple[str, ...]:
    """Return the keys that a dataclass takes."""
    return tuple(fields_at(kind, ()))


def _adapter(kind: type) -> Any:
    """Return pydantic's adapter of a tuple of one; a dataclass in it inherits the settings."""
    from pydantic import ConfigDict, TypeAdapter

    # SNOMED codes and case ids are often written as bare numbers
    strict = ConfigDict(extra="forbid", use_attribute_docstrings=True, coerce_numbers_to_str=True)
    one: Any = types.GenericAlias(tuple, (kind,))
    return TypeAdapter(one, config=strict)
