"""What a process writes to stdout and stderr, without the words that tell who a patient is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from medseg.identifiers import concealed, hidden_words, hide_only


class ConcealedStream:
    """A text stream that shows no word that `medseg.identifiers.hide` hid; else it is another's.

    Parameters
    ----------
    stream : text stream
        Where the words go.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text, concealed; a word that is cut in two between calls is not found."""
        self.stream.write(concealed(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def concealed_output() -> Iterator[None]:
    """Conceal what is written to stdout and stderr: log, warnings, tracebacks, results.

    Words that are hidden while the context lasts are forgotten with it.
    """
    streams, words = (sys.stdout, sys.stderr), hidden_words()
    conceal_here({})
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        hide_only(words)


def conceal_here(words: Mapping[str, str]) -> None:
    """Conceal these words and no others in what this process writes from now on.

    Parameters
    ----------
    words : mapping of str to str
        As `medseg.identifiers.hidden_words` returned it, here or in another process.
    """
    hide_only(words)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, ConcealedStream):
            setattr(sys, name, ConcealedStream(stream))
