"""Turn pydantic's findings into lines that name the key, what is wrong and the nearest key."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

from medseg.registry import nearest
from medseg.yaml_marks import KeyPath

_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_PLAIN = {"valid dictionary": "mapping", "valid list": "list", "valid string": "text"}
"""What people say for pydantic's words."""
_NAMED = (("loss",), ("network",))
"""Mappings that are often given by their name alone."""
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def explain(
    kind: type, data: Any, errors: Iterable[Any], *, hidden: Collection[str] = ()
) -> list[tuple[KeyPath, str]]:
    """Return (key path, what is wrong) per mistake.

    Parameters
    ----------
    kind : type
        The dataclass that ``data`` should be.
    data : object
        What was validated, as the one item of a tuple.
    errors : iterable of dict
        ``ValidationError.errors()``; each location starts with the 0 of that tuple.
    hidden : collection of str
        Top-level fields that are not the document's business.
    """
    grouped: dict[KeyPath, list[str]] = {}
    for error in errors:
        path, union = _real_path(data, error["loc"][1:], error["type"])
        if path and path[0] in hidden:
            continue
        if union is None:
            grouped.setdefault(path, []).append(_what(kind, path, error, hidden))
        else:
            inside = ".".join(map(str, path[union:]))
            what = _message(error)
            where = f" at {inside}" if inside else ""
            grouped.setdefault(path[:union], []).append(what + where)
    return [(path, _join(path, whats, _value_at(data, path))) for path, whats in grouped.items()]


def fields_at(kind: Any, path: KeyPath) -> tuple[str, ...]:
    """Return the field names of the dataclass that stands at a key path of ``kind``."""
    kinds = _dataclasses_in(kind)
    for key in path:
        if isinstance(key, int):
            continue
        hints = [get_type_hints(one) for one in kinds]
        inner = [found for hint in hints if key in hint for found in _dataclasses_in(hint[key])]
        kinds = inner or kinds  # a key of a mapping leads to the mapping's values
    return tuple(f.name for one in kinds for f in dataclasses.fields(one) if f.init)


def _dataclasses_in(hint: Any) -> list[Any]:
    """Return the dataclasses that an annotation mentions, through unions and containers."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    if get_origin(hint) is None:
        return []
    return [found for part in get_args(hint) for found in _dataclasses_in(part)]


def _real_path(data: Any, loc: Sequence[str | int], what: str) -> tuple[KeyPath, int | None]:
    """Drop from a location what is no key but pydantic's name of a union's member.

    Returns the path and, where a union was crossed, the length of the path up to it.
    """
    path: list[str | int] = []
    union: int | None = None
    for position, key in enumerate(loc):
        last = position == len(loc) - 1
        inside = (isinstance(data, Mapping) and key in data) or (
            isinstance(data, Sequence)
            and not isinstance(data, str)
            and isinstance(key, int)
            and key < len(data)
        )
        if inside:
            path.append(key)
            data = data[key]
        elif last and what in (*_MISSING, *_UNKNOWN):
            path.append(key)
        elif union is None and key != "[key]":
            union = len(path)
    return tuple(path), union


def _value_at(data: Any, path: KeyPath) -> Any:
    """Return the value at a path, or a marker where there is none."""
    for key in path:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return dataclasses.MISSING
    return data


def _what(kind: type, path: KeyPath, error: Any, hidden: Collection[str]) -> str:
    """Describe one mistake at its key."""
    if error["type"] in _UNKNOWN:
        known = [name for name in fields_at(kind, path[:-1]) if len(path) > 1 or name not in hidden]
        return f"no such key; {nearest(str(path[-1]), known)}"
    if error["type"] in _MISSING:
        return "is missing; add it"
    if error["type"] == "dataclass_type":
        return f"should be a mapping with the keys {', '.join(fields_at(kind, path))}"
    return _message(error)


def _message(error: Any) -> str:
    text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    text = text.split(", unable to parse")[0]
    for technical, plain in _PLAIN.items():
        text = text.replace(technical, plain)
    return text[:1].lower() + text[1:]


def _join(path: KeyPath, whats: Sequence[str], value: Any) -> str:
    """Join what a union's members said, and quote what came."""
    text = ", or ".join(dict.fromkeys(whats))
    if not text.startswith(("should", "is not")) or value is dataclasses.MISSING:
        return text
    shown = "nothing" if value is None else repr(value)
    text = f"{text}; got {shown if len(shown) <= 60 else shown[:57] + '...'}"
    if isinstance(value, str) and path[-1:] in _NAMED:
        text += f"; write {{name: {value}}}"
    return text
