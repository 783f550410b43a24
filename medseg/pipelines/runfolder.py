"""The run folder: who works in it, what is done in it, and its run.json."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medseg.artefacts import SetAside, StageTime
from medseg.errors import ConfigError, RunBusyError
from medseg.pipelines.store import (
    Places,
    leftovers,
    publish,
    put_folder,
    read_json,
    write_json,
    write_text,
)

ARTEFACT, STAGE_RECORD = "artefact.json", "stage.json"
LOCK_WAIT_S = 1.0


def now() -> str:
    """Return the time as run.json writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class StageFolder:
    """Where one stage's result stands, finished or not."""

    name: str
    key: str
    final: Path

    @property
    def partial(self) -> Path:
        """Folder in which the result is made; a killed stage goes on in it."""
        return self.final.with_name(f"{self.final.name}.partial")

    def is_done(self) -> bool:
        """Whether the result is there. One that is complete but for its last rename counts."""
        return _complete(self.final)

    def text(self) -> str:
        """Return the artefact's JSON."""
        return (self.final / ARTEFACT).read_text(encoding="utf-8")

    def record(self) -> dict[str, Any]:
        """Return what stage.json says: times and the cases set aside."""
        return read_json(self.final / STAGE_RECORD)

    def time(self) -> StageTime:
        """Return what this stage took when it ran."""
        record = self.record()
        return StageTime(
            stage=self.name,
            seconds=float(record.get("seconds", 0.0)),
            device=str(record.get("device", "")),
            peak_memory_mb=record.get("peak_memory_mb"),
        )

    def set_aside(self) -> tuple[SetAside, ...]:
        """Return the cases that this stage set aside."""
        return tuple(SetAside(**entry) for entry in self.record().get("set_aside", []))

    def open(self, *, afresh: bool) -> Path:
        """Return the folder to work in, emptied where the stage is to begin afresh."""
        if afresh:
            shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True, exist_ok=True)
        return self.partial

    def finish(self, text: str, record: Mapping[str, Any]) -> None:
        """Write the result and rename the folder into its place."""
        write_text(self.partial / ARTEFACT, text)
        write_json(self.partial / STAGE_RECORD, record)
        put_folder(self.partial, self.final)

    def promote(self) -> None:
        """Rename a result that was complete when the run was killed."""
        if not self.is_done() and _complete(self.partial):
            put_folder(self.partial, self.final)


def _complete(folder: Path) -> bool:
    return (folder / ARTEFACT).is_file() and (folder / STAGE_RECORD).is_file()


class RunFolder:
    """``runs/<experiment>/``.

    Parameters
    ----------
    runs_dir : Path
        Folder of all runs.
    experiment : str
        Name of the experiment.
    scratch : str
        Name of the folder beside the runs for generated data.
    """

    def __init__(self, runs_dir: Path, experiment: str, scratch: str) -> None:
        self.runs_dir = runs_dir.resolve()
        self.path = self.runs_dir / experiment
        self.places = Places(run=self.path, scratch=self.runs_dir / scratch)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out while the context lasts.

        Raises
        ------
        RunBusyError
            If another process is working here.
        ConfigError
            If the folder cannot be made or written.
        """
        lock = FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=LOCK_WAIT_S)
        except Timeout as error:
            raise RunBusyError(
                f"{self.path}: another process is working in this run folder; wait until it has "
                "ended, or give this run another 'experiment' name or --runs-dir"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"{self.path}: cannot be made or written ({error.strerror}); give --runs-dir a "
                "folder that you may write"
            ) from error
        try:
            for path in leftovers(self.path):
                shutil.rmtree(path, ignore_errors=True)
            yield
        finally:
            lock.release()

    def stage(self, name: str, key: str) -> StageFolder:
        """Return the folder of one stage's result."""
        return StageFolder(name, key, self.path / "stages" / name / key)

    def record(self) -> dict[str, Any]:
        """Return what run.json says; empty before the first run."""
        return read_json(self.path / "run.json")

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write run.json, whole or not at all."""
        write_json(self.path / "run.json", record)

    def publish(self, folder: StageFolder, names: tuple[str, ...]) -> None:
        """Show sub-folders of a stage's result at the top, where they are not there already."""
        shown = read_json(self.path / "stages" / "published.json")
        for name in names:
            source, target = folder.final / name, self.path / name
            stamp = f"{folder.name}/{folder.key}/{folder.record().get('finished')}"
            if source.is_dir() and (shown.get(name) != stamp or not target.is_dir()):
                publish(source, target)
                shown[name] = stamp
                write_json(self.path / "stages" / "published.json", shown)
