"""What a stage gets from the runner besides its inputs: a folder, workers, progress, a tracker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from medseg.artefacts import SetAside, StageTime

R = TypeVar("R")


class Progress(Protocol):
    """A running bar (or plain lines where there is no terminal)."""

    def advance(self, amount: float = 1.0, *, note: str = "") -> None:
        """Move on; ``note`` is a short text shown beside the bar (a loss, a case id)."""


@dataclass(frozen=True)
class CaseResults(Generic[R]):
    """What `Context.map_cases` returns."""

    done: Mapping[str, R]
    """Case id to result, in the order of the items."""
    set_aside: tuple[SetAside, ...]


class Context(Protocol):
    """Services of the runner. The real one is `medseg.pipelines.context.RunContext`."""

    workdir: Path
    """The stage's own folder. It is kept when the run is killed, so a stage may go on from what
    it finds there; it becomes the stage's final folder when ``run`` returns."""
    device: str
    """``cpu`` or ``cuda:N``; ``auto`` has been resolved."""
    earlier_set_aside: tuple[SetAside, ...]
    """Cases that the stages before this one set aside."""
    earlier_stages: tuple[StageTime, ...]
    """What the stages before this one took; never part of a result's key."""
    scratch: Path
    """Folder shared by the runs beside this one, for data that a reader generates."""

    def map_cases(
        self,
        function: Callable[..., R],
        items: Mapping[str, Mapping[str, Any]],
        *,
        shared: Mapping[str, Any] | None = None,
        parallel: bool = True,
        memory: int = 0,
        unit: str = "case",
    ) -> CaseResults[R]:
        """Call ``function(out=folder, **item, **shared)`` once per case; reuse what is known.

        Parameters
        ----------
        function : callable
            A module-level function with a return annotation that is JSON-able (a dataclass of
            `medseg.artefacts`, a number, ...). It writes its files under ``out`` only.
        items : mapping
            Case id to keyword arguments. They must be JSON-able: their hash, the function's name
            and the stage's code version are the key of the result, which is kept under
            ``stages/<stage>/cases/<key>`` and reused by every later run that asks the same.
        shared : mapping, optional
            Further keyword arguments, the same for every case and not part of the key (a loaded
            network). What identifies them must be among the items.
        parallel : bool
            False runs the cases one after another in this process; where torchrun or srun started
            several, each takes its share, with an unpickled copy of ``shared``.
        memory : int
            Bytes one case needs at most; sizes the number of workers. 0: unknown.

        Returns
        -------
        CaseResults
            A case that raised is set aside with its reason and listed; all others are done.

        Raises
        ------
        StageError
            If every case failed.
        """

    def once(
        self,
        function: Callable[..., R],
        name: str,
        item: Mapping[str, Any],
        *,
        shared: Mapping[str, Any] | None = None,
    ) -> R:
        """Call ``function(out=folder, **item, **shared)`` in this process, once for all runs.

        For hours of work that must outlive a change of the stage around it (one fold of several).
        It is keyed as in `map_cases`, but a killed call finds ``out`` again as it left it, and an
        error fails the stage.

        Parameters
        ----------
        function : callable
            As in `map_cases`.
        name : str
            What is made, for messages; part of the key.
        item, shared : mapping
            As in `map_cases`.
        """

    def finished(self, run: Path, stage: str, kind: type[R]) -> R:
        """Return what a stage of another run wrote.

        Parameters
        ----------
        run : Path
            Run folder.
        stage : str
            Name of the stage.
        kind : type
            Class of its artefact.

        Raises
        ------
        ConfigError
            If the run has not finished that stage.
        """

    def progress(self, total: float, unit: str) -> AbstractContextManager[Progress]:
        """Open a bar with the time left."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Hand metrics to the tracker (buffered; never fails the stage)."""

    def set_aside(self, case: str, reason: str) -> None:
        """List a case that cannot be used; the run ends with exit code 3."""
