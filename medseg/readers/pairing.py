"""Pair images with labels by name, where names share only what tells the cases apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from medseg.errors import ManifestError
from medseg.readers.common import some, stem

Tokens = tuple[str, ...]


def pair_by_name(images: Sequence[Path], labels: Sequence[Path], root: Path) -> dict[Path, Path]:
    """Return image to label; an image may be left over, a label may not.

    Tried in this order, the first that gives every label one image wins: equal stems; equal after
    the words that all files of a side share at their start or end are dropped; the same with
    numbers compared as numbers; the image's name as the start of the label's. Where stems repeat
    (``17/image.nii.gz``, ``18/image.nii.gz``), the folders' names count too.

    Raises
    ------
    ManifestError
        If no rule pairs every label; the rule that came closest says which files are left.
    """
    left, right = _names(images, root), _names(labels, root)
    best: tuple[int, list[str], list[str]] | None = None
    for rule in (_equal, _less_shared, _as_numbers, _starts_with):
        pairs = rule(left, right)
        if pairs is None:
            continue
        if len(pairs) == len(labels):
            return {images[i]: labels[j] for i, j in pairs.items()}
        rest_images = [images[i].name for i in range(len(images)) if i not in pairs]
        rest_labels = [p.name for j, p in enumerate(labels) if j not in pairs.values()]
        if best is None or len(pairs) > best[0]:
            best = (len(pairs), rest_images, rest_labels)
    count, rest_images, rest_labels = best or (
        0,
        [path.name for path in images],
        [path.name for path in labels],
    )
    raise ManifestError(
        f"{root}: {count} of {len(labels)} labels could be paired with an image by name; "
        f"labels left: {some(rest_labels)}; images left: {some(rest_images) or 'none'}; "
        "narrow the patterns, or list the cases with reader 'table'"
    )


def _names(paths: Sequence[Path], root: Path) -> list[str]:
    """Return stems, or relative paths without their endings where stems repeat."""
    stems = [stem(path) for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return [str(path.relative_to(root).with_name(stem(path))) for path in paths]


def _tokens(name: str) -> Tokens:
    """Split a name into words, numbers and what stands between them."""
    return tuple(re.findall(r"[^\W\d_]+|\d+|[\W_]+", name))


def _trimmed(names: Sequence[str]) -> list[Tokens]:
    """Drop the leading and trailing tokens that all names share."""
    split = [_tokens(name) for name in names]
    if len(split) < 2:
        return split
    shortest = min(len(tokens) for tokens in split)
    start = 0
    while start < shortest and len({tokens[start] for tokens in split}) == 1:
        start += 1
    stop = 0
    while stop < shortest - start and len({tokens[-1 - stop] for tokens in split}) == 1:
        stop += 1
    return [_bare(tokens[start : len(tokens) - stop]) for tokens in split]


def _bare(tokens: Tokens) -> Tokens:
    """Drop separators at both ends."""
    while tokens and not tokens[0][0].isalnum():
        tokens = tokens[1:]
    while tokens and not tokens[-1][0].isalnum():
        tokens = tokens[:-1]
    return tokens


def _match(left: Sequence[Tokens], right: Sequence[Tokens]) -> dict[int, int] | None:
    """Pair equal keys; None where a side repeats a key."""
    if len(set(left)) < len(left) or len(set(right)) < len(right):
        return None
    places = {key: j for j, key in enumerate(right)}
    return {i: places[key] for i, key in enumerate(left) if key in places}


def _equal(left: Sequence[str], right: Sequence[str]) -> dict[int, int] | None:
    return _match([(name,) for name in left], [(name,) for name in right])


def _less_shared(
    left: Sequence[str],
    right: Sequence[str],
    change: Callable[[Tokens], Tokens] = lambda tokens: tokens,
) -> dict[int, int] | None:
    """Compare what is left when each side drops what all its names share."""
    if len(left) == len(right) == 1:
        return {0: 0}
    sides = []
    for names in (left, right):
        # a single name shares nothing with others: find it inside by `_starts_with`
        sides.append([change(tokens) for tokens in _trimmed(names)])
    return _match(*sides)


def _as_numbers(left: Sequence[str], right: Sequence[str]) -> dict[int, int] | None:
    """Compare without separators and case, numbers without leading zeros."""

    def plain(tokens: Tokens) -> Tokens:
        return tuple(
            str(int(token)) if token.isdecimal() else token.lower()
            for token in tokens
            if token[0].isalnum()
        )

    return _less_shared(left, right, plain)


def _starts_with(left: Sequence[str], right: Sequence[str]) -> dict[int, int] | None:
    """Give each label the image whose whole name it starts with, the longest such name."""
    split = [_tokens(name) for name in left]
    pairs: dict[int, int] = {}
    for j, name in enumerate(right):
        tokens = _tokens(name)
        fits = [i for i, own in enumerate(split) if tokens[: len(own)] == own]
        if not fits:
            continue
        i = max(fits, key=lambda i: len(split[i]))
        if i in pairs:
            return None
        pairs[i] = j
    return pairs
