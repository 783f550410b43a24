"""The records a store has not taken yet: one JSON line each, in the run folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]
"""``op`` names what to do, ``run`` the run it is done to; the rest are arguments."""


class Spool:
    """A queue in a file: what is appended survives a kill, and is taken off once delivered.

    There is a file only while something waits.

    Parameters
    ----------
    path : Path
        ``tracking_spool.jsonl`` of the run folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mended = False

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record at the end."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(record) + "\n"
        if not self._mended:
            # A process killed while it wrote leaves half a line: close it, `read` steps over it.
            line = line if self._ends_whole() else "\n" + line
            self._mended = True
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    def read(self) -> Iterator[tuple[int, Record]]:
        """Yield each record with the file offset after it; half-written lines are passed over."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in iter(file.readline, b""):
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                yield file.tell(), record

    def drop(self, offset: int, ids: Mapping[str, str]) -> None:
        """Take off what stands before ``offset``; ``ids`` resolves run names in what is left."""
        with self.path.open("rb") as file:
            file.seek(offset)
            rest = file.read()
        if not rest.strip():
            self.path.unlink()
            return
        aside = self.path.with_suffix(".tmp")
        head = json.dumps({"op": "ids", "ids": dict(ids)}) + "\n"
        aside.write_bytes(head.encode() + rest)
        aside.replace(self.path)

    def _ends_whole(self) -> bool:
        """Tell whether the file is absent, empty or ends with a whole line."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return True
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"
