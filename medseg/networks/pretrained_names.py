"""Tensors of other libraries under our names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from math import isqrt

import torch
from torch import Tensor

from medseg.networks.pretrained_layouts import Rules

TOKENS = "positions.tokens"
"""What the positions of a vision transformer are called until they lie on their grid."""


def rename(tensors: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Give tensors the names that the rules make of theirs.

    A name with ``&`` is that of as many equal pieces along the first axis. What ends with ``+0``
    and ``+1`` is then put one after the other, and what ends with ``-`` is taken from the tensor
    of that name. ``stages.0.last.`` is the member after those of ``stages.0`` that have a number.
    `TOKENS` are laid on their grid.
    """
    made: dict[str, Tensor] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    for old, value in tensors.items():
        name = old
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        for one, piece in _pieces(name, value):
            joined = re.fullmatch(r"(.*)\+(\d)", one)
            if joined:
                parts.setdefault(joined[1], {})[int(joined[2])] = piece
            else:
                made[one] = piece
    for name, pieces in parts.items():
        made[name] = torch.cat([pieces[i] for i in sorted(pieces)])
    for name in [name for name in made if name.endswith("-")]:
        whole = name.removesuffix("-")
        if whole in made and made[whole].shape == made[name].shape:
            made[whole] = made[whole] - made.pop(name)
    if TOKENS in made:
        _lay_tokens(made)
    return {re.sub(r"^(.*)\.last\.", partial(_numbered, made), k): v for k, v in made.items()}


def _pieces(name: str, value: Tensor) -> list[tuple[str, Tensor]]:
    """Cut a tensor that is several of ours."""
    names = name.split("&")
    if len(names) == 1 or value.ndim == 0 or len(value) % len(names):
        return [(name, value)]
    return list(zip(names, value.chunk(len(names)), strict=True))


def _lay_tokens(made: dict[str, Tensor]) -> None:
    """Bring positions (1, tokens, C) to a grid (1, C, rows, columns), as far as it is a square.

    Our class token has no position of its own: it holds the sum of both.
    """
    value = made[TOKENS]
    if value.ndim != 3:
        return
    side = isqrt(value.shape[1])
    own = value.shape[1] - side**2  # the class token comes first
    if own == 1 and "token" in made:
        made["token"] = made["token"] + value[:, :1]
    elif own:
        return
    grid = made.pop(TOKENS)[:, own:].transpose(1, 2)
    made["positions.weight"] = grid.reshape(*grid.shape[:2], side, side)


def _numbered(names: Iterable[str], match: re.Match[str]) -> str:
    """Return the name of the member after all others."""
    found = (re.match(rf"{re.escape(match[1])}\.(\d+)\.", name) for name in names)
    return f"{match[1]}.{1 + max((int(m[1]) for m in found if m), default=0)}."
