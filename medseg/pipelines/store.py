"""How results stand on disk: JSON whose paths survive a move, folders that appear whole."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

RUN, SCRATCH, STAGE = "@run", "@scratch", "@stage"


@dataclass(frozen=True)
class Places:
    """Folders whose own paths must not be written into results; all absolute."""

    run: Path
    scratch: Path
    stage: Path | None = None
    """Folder of the stage (or of the case) that a result belongs to."""

    def within(self, folder: Path) -> Places:
        """Return the places as seen by a result in ``folder``."""
        return replace(self, stage=folder)

    def _marks(self) -> list[tuple[str, str]]:
        """Return (mark, folder), innermost first."""
        inner = [(STAGE, str(self.stage))] if self.stage else []
        return [*inner, (RUN, str(self.run)), (SCRATCH, str(self.scratch))]

    def hide(self, value: Any) -> Any:
        """Replace the folders by marks in every string of a JSON value."""
        marks = self._marks()

        def one(text: str) -> str:
            for mark, folder in marks:
                if text == folder or text.startswith(folder + os.sep):
                    return mark + text[len(folder) :]
            return text

        return _map_strings(value, one)

    def show(self, value: Any) -> Any:
        """Undo `hide`, for where the folders are now."""
        marks = self._marks()

        def one(text: str) -> str:
            for mark, folder in marks:
                if text == mark or text.startswith(mark + os.sep):
                    return folder + text[len(mark) :]
            return text

        return _map_strings(value, one)

    def dump(self, value: Any, kind: Any = None) -> str:
        """Return JSON text of a result of type ``kind`` (of plain values, where not given)."""
        plain = (
            to_jsonable_python(value)
            if kind is None
            else adapter(kind).dump_python(value, mode="json")
        )
        return json.dumps(self.hide(plain), sort_keys=True, indent=1)

    def load(self, text: str, kind: Any) -> Any:
        """Return the result of type ``kind`` that `dump` wrote."""
        return adapter(kind).validate_python(self.show(json.loads(text)))


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return pydantic's reader and writer of a type."""
    return TypeAdapter(kind)


def _map_strings(value: Any, function: Callable[[str], str]) -> Any:
    """Apply a function to every string of a JSON value, keys left alone."""
    if isinstance(value, str):
        return function(value)
    if isinstance(value, dict):
        return {key: _map_strings(inner, function) for key, inner in value.items()}
    if isinstance(value, list):
        return [_map_strings(inner, function) for inner in value]
    return value


def write_text(path: Path, text: str) -> None:
    """Write a file aside, then rename it: it is never seen half-written."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON, whole or not at all."""
    write_text(path, json.dumps(to_jsonable_python(value), indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file; empty where there is no file or it is no JSON."""
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        value = json.loads(path.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    return {}


def put_folder(aside: Path, final: Path) -> None:
    """Rename a finished folder into its place; what stood there is removed."""
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    aside.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def publish(source: Path, target: Path) -> None:
    """Put a copy of a folder at ``target``; edits there leave the stage's own folder alone.

    The copy is made aside and renamed, so ``target`` is never half-written.
    """
    aside = target.with_name(f".{target.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(source, aside)
    put_folder(aside, target)


def leftovers(folder: Path) -> Iterator[Path]:
    """Yield what a killed run left aside in a folder."""
    yield from folder.glob(".*.old")
    yield from folder.glob(".*.new")
