"""Tracking that never fails a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from medseg.tracking import NullTracker, Status, Tracker

logger = logging.getLogger(__name__)


class Guarded:
    """A tracker that never fails a run: an error of the one inside is told once, then it is off.

    Parameters
    ----------
    make : callable
        Makes the tracker; called by `start`.
    """

    def __init__(self, make: Callable[[], Tracker]) -> None:
        self._make = make
        self._inner: Tracker = NullTracker()

    @property
    def run_id(self) -> str | None:
        """Id to resume by."""
        return self._inner.run_id

    @property
    def where(self) -> str:
        """The store, in words."""
        return self._inner.where

    def start(
        self,
        experiment: str,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        resume_run_id: str | None = None,
    ) -> str | None:
        """Make the tracker and open a run."""

        def begin() -> None:
            self._inner = self._make()
            self._inner.start(experiment, run_name, params, tags, resume_run_id)

        self._try(begin)
        return self._inner.run_id

    @contextmanager
    def stage(self, name: str, *, key: str = "") -> Iterator[None]:
        """Enclose one stage; errors of the stage itself go on to the caller."""
        opened: list[AbstractContextManager[None]] = []

        def enter() -> None:
            context = self._inner.stage(name, key=key)
            context.__enter__()
            opened.append(context)

        def leave(error: BaseException | None) -> None:
            for context in opened:
                context.__exit__(type(error) if error else None, error, None)

        self._try(enter)
        try:
            yield
        except BaseException as error:
            raised = error  # the name of an except clause ends with it
            self._try(lambda: leave(raised))
            raise
        self._try(lambda: leave(None))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Add metrics."""
        self._try(lambda: self._inner.log_metrics(metrics, step))

    def log_dataset(self, name: str, digest: str, splits: Mapping[str, int], source: str) -> None:
        """Record the data set."""
        self._try(lambda: self._inner.log_dataset(name, digest, splits, source))

    def log_artifacts(self, path: Path, artifact_path: str = "") -> None:
        """Add files."""
        self._try(lambda: self._inner.log_artifacts(path, artifact_path))

    def log_model(self, folder: Path, *, input_shape: tuple[int, ...], name: str = "model") -> None:
        """Add a model folder."""
        self._try(lambda: self._inner.log_model(folder, input_shape=input_shape, name=name))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._try(lambda: self._inner.set_tags(tags))

    def replay(self) -> None:
        """Deliver what an earlier process could not, without opening a run."""
        self._try(lambda: self._make().replay())

    def finish(self, status: Status) -> None:
        """Close the run."""
        self._try(lambda: self._inner.finish(status))

    def _try(self, call: Callable[[], object]) -> None:
        """Call; on any error go on without tracking, and say so."""
        try:
            call()
        except Exception as error:  # noqa: BLE001 - a tracker must not lose a run
            logger.warning(
                "tracking is off for the rest of this run: %s: %s", type(error).__name__, error
            )
            self._inner = NullTracker()
