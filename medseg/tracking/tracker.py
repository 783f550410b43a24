"""What the runner asks of a tracker, and the tracker that does nothing."""

# ruff: noqa: ARG002 - the tracker that does nothing has arguments all the same

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run or a stage ended, in MLflow's words."""


class Tracker(Protocol):
    """Records of one pipeline run; none of these methods raises because of the tracking store.

    The order of calls is `start`, any of the others, `finish`. What a store that is down cannot
    take is kept in the run folder and delivered later.
    """

    @property
    def run_id(self) -> str | None:
        """Id to resume the run by; it may change while the run lasts, so store it at the end too.

        An id that begins with ``offline-`` stands for a run the store has not seen yet. ``None``
        before `start`, and always without tracking.
        """

    @property
    def where(self) -> str:
        """The store, in words for a log line: a URI without password, or ``off``."""

    def start(
        self,
        experiment: str,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        resume_run_id: str | None = None,
    ) -> str | None:
        """Open a run, or go on with an earlier one, and return its id (see `run_id`).

        Parameters
        ----------
        experiment : str
            The config's ``experiment``.
        run_name : str
            Name shown in the list of runs.
        params : mapping
            The resolved config, nested or flattened; nested keys are joined by dots.
        tags : mapping
            ``device`` and ``data_origin`` (``real`` or ``SYNTHETIC``), and what else tells runs
            apart. The git commit and the medseg version are added here.
        resume_run_id : str, optional
            What an earlier `start` or `run_id` gave. A run that the store no longer has, or that
            had finished with another config, is left alone and a new one begun.
        """

    def stage(self, name: str, *, key: str = "") -> AbstractContextManager[None]:
        """Enclose one stage: a nested run with its seconds, key and status.

        An ``Exception`` that passes through marks it FAILED, any other ``BaseException``
        (Ctrl-C) KILLED; both go on to the caller.
        """

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Add metrics to the run, with the present time; sent in batches."""

    def log_dataset(self, name: str, digest: str, splits: Mapping[str, int], source: str) -> None:
        """Record the data set: manifest name, digest, cases per split, and where it comes from."""

    def log_artifacts(self, path: Path, artifact_path: str = "") -> None:
        """Add a file, or all that is in a folder, under ``artifact_path`` of the run's artifacts.

        The files must stay where they are until the run has ended; a published file of the run
        folder does.
        """

    def log_model(self, folder: Path, *, input_shape: tuple[int, ...], name: str = "model") -> None:
        """Add a model folder (safetensors and JSON) as an MLflow model with its signature.

        Parameters
        ----------
        folder : Path
            What `medseg.model_folder.write_model_folder` wrote.
        input_shape : tuple of int
            (C, *spatial): channels and patch size of the plan, for the input example.
        """

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""

    def replay(self) -> None:
        """Deliver what an earlier process of this run could not; opens no run.

        For a run that has nothing to do; `start` does the same first.
        """

    def finish(self, status: Status) -> None:
        """Close the run and send what is left."""


class NullTracker:
    """The tracker of ``tracking: off``: takes everything, keeps nothing."""

    run_id: str | None = None
    where = "off"

    def start(
        self,
        experiment: str,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        resume_run_id: str | None = None,
    ) -> str | None:
        """Return None."""
        return None

    def stage(self, name: str, *, key: str = "") -> AbstractContextManager[None]:
        """Enclose nothing."""
        return nullcontext()

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Do nothing."""

    def log_dataset(self, name: str, digest: str, splits: Mapping[str, int], source: str) -> None:
        """Do nothing."""

    def log_artifacts(self, path: Path, artifact_path: str = "") -> None:
        """Do nothing."""

    def log_model(self, folder: Path, *, input_shape: tuple[int, ...], name: str = "model") -> None:
        """Do nothing."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def replay(self) -> None:
        """Do nothing."""

    def finish(self, status: Status) -> None:
        """Do nothing."""
