"""Read YAML as people mean it, and remember the line and column of every key."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from medseg.errors import ConfigError

KeyPath = tuple[str | int, ...]
"""Keys from the top of a document to a value; list positions are integers."""


class PlainLoader(yaml.SafeLoader):
    """YAML without its surprises.

    Only true and false are booleans (``off`` and ``no`` stay text), ``1e-3`` is a number, ``007``
    and ``12:30`` and dates stay text.
    """


_REPLACED = ("bool", "int", "float", "timestamp")
PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag.rsplit(":", 1)[-1] not in _REPLACED]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+0123456789.",
    ),
):
    PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def parse_value(text: str) -> Any:
    """Read one YAML value, such as the right-hand side of an override.

    Raises
    ------
    ConfigError
        If the text is not YAML.

    Examples
    --------
    >>> parse_value("[1, 1e-3, off]")
    [1, 0.001, 'off']
    """
    try:
        return yaml.load(text, Loader=PlainLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"'{text}' is not a YAML value: {_problem(error)}") from error


def read_marked(path: Path) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """Return the mapping in a YAML file, and ``file:line:column`` of each of its keys.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not YAML, is no mapping, or has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a YAML file") from error
    loader = PlainLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}:1:1: holds no mapping; write 'key: value' lines")
        _refuse_duplicates(node, path)
        data = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(f"{_place(error, path)}: not YAML: {_problem(error)}") from error
    finally:
        loader.dispose()
    return data, dict(_marks(node, (), path))


def _marks(node: yaml.Node, path: KeyPath, file: Path) -> Iterator[tuple[KeyPath, str]]:
    """Yield the place of every key and list item below a node."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, _scalar(key))
            yield here, _spot(file, key.start_mark)
            yield from _marks(value, here, file)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            here = (*path, position)
            yield here, _spot(file, item.start_mark)
            yield from _marks(item, here, file)


def _refuse_duplicates(node: yaml.Node, file: Path) -> None:
    """Raise for a key that stands twice in one mapping; YAML would drop the first in silence."""
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key, value in node.value:
            name = _scalar(key)
            if name in seen:
                raise ConfigError(
                    f"{_spot(file, key.start_mark)}: {name}: stands twice; keep one of them"
                )
            seen.add(name)
            _refuse_duplicates(value, file)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, file)


def _scalar(node: yaml.Node) -> Any:
    """Return a key as Python sees it (keys may be integers)."""
    if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":int"):
        return int(node.value)
    return node.value if isinstance(node, yaml.ScalarNode) else str(node.value)


def _spot(file: Path, mark: Any) -> str:
    return f"{file}:{mark.line + 1}:{mark.column + 1}"


def _place(error: yaml.YAMLError, file: Path) -> str:
    mark = getattr(error, "problem_mark", None)
    return str(file) if mark is None else _spot(file, mark)


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error)
