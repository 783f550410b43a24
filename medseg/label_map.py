"""The label map: what a value, a colour or a name in annotation files means.

A map is complete: a value that it does not list is a mistake in the map or in the file, and ingest
says so. ``other`` is the one way to say that everything else is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from medseg.registry import nearest

IGNORE, BACKGROUND, OTHER = "ignore", "background", "other"
RESERVED = (IGNORE, BACKGROUND)


def stored_value(key: str) -> int | None:
    """Return the value that a key of a label map means; None for a name, or for ``other``.

    Parameters
    ----------
    key : str
        A whole number, or a colour ``#rrggbb``, whose value is ``0xrrggbb``.

    Examples
    --------
    >>> stored_value("11"), stored_value("#0000ff"), stored_value("person")
    (11, 255, None)
    """
    if re.fullmatch(r"-?\d+", key):
        return int(key)
    if re.fullmatch(r"#[0-9a-fA-F]{6}", key):
        return int(key[1:], 16)
    return None


def map_problems(
    label_map: Mapping[str, str], names: list[str], ignore_value: int | None
) -> Iterator[tuple[str | None, str]]:
    """Yield (key, or None for the map as a whole; what is wrong with it).

    Parameters
    ----------
    label_map : mapping of str to str
        As in the manifest, keys written as text.
    names : list of str
        Names of the label table.
    ignore_value : int, optional
        The manifest's ``ignore_value``: one place says what is ignored, the map or it.
    """
    known = [*names, *RESERVED]
    for key, name in label_map.items():
        if name not in known:
            yield key, f"no label '{name}'; {nearest(name, known)}"
    values = [value for key in label_map if (value := stored_value(key)) is not None]
    for value in sorted({v for v in values if values.count(v) > 1}):
        yield None, f"the value {value} stands in it twice, once as a colour"
    if ignore_value is not None:
        yield (
            None,
            (
                f"ignore_value {ignore_value} says what is ignored beside the map; write "
                f"'{ignore_value}: {IGNORE}' into the map and delete ignore_value"
            ),
        )
    unused = [name for name in names if name not in label_map.values()]
    # names stand for themselves in files that name their structures, so only values can miss one
    if values and len(values) + (OTHER in label_map) == len(label_map) and unused:
        yield None, f"no value means {', '.join(unused[:8])}; add it, or delete the label"
