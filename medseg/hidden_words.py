"""Words that a text must not show, and what it shows instead; any number of them at little cost."""

from __future__ import annotations

import re
from collections.abc import Mapping

_RUNS = re.compile(r"[^\W\d_]+|\d+|.", re.DOTALL)
"""A run of letters, a run of digits, or any other single character."""


class HiddenWords:
    """Replaces words in texts, the longest first; capitals and small letters are the same.

    A word is found where its letters do not go on as letters, nor its digits as digits: of ``Doe``
    the ``doe`` in ``doe_01`` and ``doe01``, not in ``doer``.

    Examples
    --------
    >>> hidden = HiddenWords()
    >>> hidden.add("Doe", "x")
    >>> hidden.add("Doe-7", "y")
    >>> hidden.replaced_in("DOE_1, doe-7, doe-72 and a doer")
    'x_1, y, x-72 and a doer'
    """

    def __init__(self) -> None:
        self.words: dict[str, str] = {}
        self._runs: dict[tuple[str, ...], str] = {}
        self._lengths: dict[str, list[int]] = {}

    def add(self, word: str, instead: str) -> None:
        """Replace a word from now on, also if something else was to stand in its place."""
        runs = _runs(word)
        self.words[word] = self._runs[runs] = instead
        lengths = self._lengths.setdefault(runs[0], [])
        if len(runs) not in lengths:
            lengths.append(len(runs))
            lengths.sort(reverse=True)

    def replace_all(self, words: Mapping[str, str]) -> None:
        """Replace these words and no others."""
        if words == self.words:
            return
        self.words, self._runs, self._lengths = {}, {}, {}
        for word, instead in words.items():
            self.add(word, instead)

    def replaced_in(self, text: str) -> str:
        """Return a text with what it shows instead of the words."""
        if not self.words:
            return text
        shown, runs, place = _RUNS.findall(text), _runs(text), 0
        parts: list[str] = []
        while place < len(runs):
            length, instead = self._at(runs, place, shown)
            parts.append(instead)
            place += length
        return "".join(parts)

    def _at(self, runs: tuple[str, ...], place: int, shown: list[str]) -> tuple[int, str]:
        """Return how many runs the longest word at a place has, and what to show instead."""
        for length in self._lengths.get(runs[place], ()):
            instead = self._runs.get(runs[place : place + length])
            if instead is not None:
                exact = "".join(shown[place : place + length])
                return length, self.words.get(exact, instead)
        return 1, shown[place]


def _runs(text: str) -> tuple[str, ...]:
    return tuple(run.lower() for run in _RUNS.findall(text))
