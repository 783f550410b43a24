"""Look names up in plain tables, and find the nearest name when there is none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from medseg.errors import ConfigError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the closest known name, or lists all of them.

    Examples
    --------
    >>> nearest("unett", ["unet", "vnet"])
    "did you mean 'unet'?"
    >>> nearest("zzz", ["unet", "vnet"])
    'known: unet, vnet'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """Return ``table[name]``.

    Raises
    ------
    ConfigError
        If there is no such name; the message gives the nearest one.
    """
    if name not in table:
        raise ConfigError(f"no {kind} is named '{name}'; {nearest(name, table)}")
    return table[name]
