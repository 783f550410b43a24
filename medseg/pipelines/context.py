"""What the runner gives to a stage: folders, workers, progress, metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from medseg.artefacts import SetAside, StageTime
from medseg.errors import ConfigError, StageError
from medseg.identifiers import concealed
from medseg.pipelines.cases import RESULT, Outcome, read_case, result_kind, resume_case, run_case
from medseg.pipelines.keys import case_key
from medseg.pipelines.progress import Display
from medseg.pipelines.records import keep_traceback
from medseg.pipelines.runfolder import RunFolder
from medseg.pipelines.store import Places
from medseg.pipelines.workers import (
    count_workers,
    run_cluster,
    run_here,
    run_processes,
    run_team,
)
from medseg.settings import Compute
from medseg.stages.context import CaseResults, Progress
from medseg.team import current
from medseg.tracking import Tracker

R = TypeVar("R")

logger = logging.getLogger(__name__)


class RunContext:
    """The `medseg.stages.context.Context` of a real run.

    Parameters
    ----------
    stage : str
        Name of the stage in the pipeline.
    workdir : Path
        The stage's folder while it is being made.
    places : Places
        Run folder and scratch folder.
    device : str
        Resolved device.
    compute : Compute
        Where per-case work runs.
    tracker : Tracker
        Takes metrics.
    display : Display
        Shows progress.
    earlier_set_aside : tuple of SetAside
        What the stages before this one set aside.
    earlier_stages : tuple of StageTime
        What they took.
    fresh_after : float, optional
        Case results older than this time (seconds since the epoch) are made anew.
    """

    def __init__(
        self,
        stage: str,
        workdir: Path,
        *,
        places: Places,
        device: str,
        compute: Compute,
        tracker: Tracker,
        display: Display,
        earlier_set_aside: tuple[SetAside, ...] = (),
        earlier_stages: tuple[StageTime, ...] = (),
        fresh_after: float | None = None,
    ) -> None:
        self.stage, self.workdir, self.device = stage, workdir, device
        self.places, self.scratch = places, places.scratch
        self.compute, self.tracker, self.display = compute, tracker, display
        self.earlier_set_aside, self.fresh_after = earlier_set_aside, fresh_after
        self.earlier_stages = earlier_stages
        self.listed: list[SetAside] = []

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
        """Call ``function`` once per case; see `medseg.stages.context.Context.map_cases`."""
        result_kind(function)
        folders = {case: self._folder(function, case, item) for case, item in items.items()}
        done = {case: self._known(folders[case], function) for case in items}
        known = {case: found[0] for case, found in done.items() if found is not None}
        if known:
            logger.info("%s: %d of %d results are known", self.stage, len(known), len(items))
        calls = {
            case: partial(run_case, function, case, item, shared or {}, folders[case], self.places)
            for case, item in items.items()
            if case not in known
        }
        failed: dict[str, SetAside] = {}
        with self.display.open(self.stage, len(items), unit) as bar:
            bar.advance(len(known))
            for outcome in self._outcomes(calls, parallel, memory):
                bar.advance(note=outcome.case)
                if outcome.disk_full:
                    raise StageError(
                        f"stage {self.stage}: no more can be written to {self.places.run} "
                        f"({outcome.reason}); {len(known)} of {len(items)} cases are done and "
                        "kept: free some space, or mend the limit, and give the same command again"
                    )
                if outcome.reason is None:
                    known[outcome.case] = read_case(folders[outcome.case], function, self.places)
                else:
                    failed[outcome.case] = self._failure(outcome)
        aside = tuple(failed[case] for case in items if case in failed)
        self.listed += aside
        if items and not known:
            raise StageError(
                f"stage {self.stage}: all {len(items)} cases failed; the first: {aside[0].reason}"
            )
        return CaseResults({case: known[case] for case in items if case in known}, aside)

    def once(
        self,
        function: Callable[..., R],
        name: str,
        item: Mapping[str, Any],
        *,
        shared: Mapping[str, Any] | None = None,
    ) -> R:
        """Call ``function`` once for all runs; see `medseg.stages.context.Context.once`."""
        result_kind(function)
        folder = self._folder(function, name, item)
        known = self._known(folder, function)
        if known is not None:
            logger.info("%s: %s is known", self.stage, name)
            return known[0]
        resume_case(
            function, name, item, shared or {}, folder, self.places, fresh_after=self.fresh_after
        )
        result: R = read_case(folder, function, self.places)
        return result

    def finished(self, run: Path, stage: str, kind: type[R]) -> R:
        """Load an artefact of another run; see `medseg.stages.context.Context.finished`."""
        path = run.resolve()
        other = RunFolder(path.parent, path.name, self.scratch.name)
        place = other.stage(stage, str(other.record().get("stages", {}).get(stage, {}).get("key")))
        if not place.is_done():
            raise ConfigError(f"{run}: no finished stage '{stage}'; finish that run first")
        result: R = other.places.within(place.final).load(place.text(), kind)
        return result

    def progress(self, total: float, unit: str) -> AbstractContextManager[Progress]:
        """Open a bar with the time left."""
        return self.display.open(self.stage, total, unit)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Hand metrics to the tracker."""
        self.tracker.log_metrics(metrics, step)

    def set_aside(self, case: str, reason: str) -> None:
        """List a case that cannot be used; the run ends with exit code 3."""
        reason = concealed(reason)
        logger.warning("%s: set aside: %s", self.stage, _named(case, reason))
        self.listed.append(SetAside(case=case, stage=self.stage, reason=reason))

    def _folder(self, function: Callable[..., R], case: str, item: Mapping[str, Any]) -> Path:
        """Return where the result of a case belongs."""
        key = case_key(function, case, self.places.dump(dict(item)))
        return self.places.run / "stages" / self.stage / "cases" / key

    def _known(self, folder: Path, function: Callable[..., R]) -> tuple[R] | None:
        """Return the result that an earlier run left, if there is one."""
        file = folder / RESULT
        if not file.is_file():
            return None
        if self.fresh_after is not None and file.stat().st_mtime < self.fresh_after:
            return None
        try:
            return (read_case(folder, function, self.places),)
        except (ValidationError, ValueError) as error:
            logger.warning("%s: cannot be read, made anew (%s)", file, error)
            return None

    def _outcomes(
        self, calls: Mapping[str, Callable[[], Outcome]], parallel: bool, memory: int
    ) -> Iterator[Outcome]:
        """Run the calls where the config says, and yield outcomes as they come."""
        if not calls:
            return iter(())
        team = current()
        if not parallel and team is not None:
            return run_team(calls, team, self.device)
        if parallel and self.compute.scheduler:
            return run_cluster(calls, self.compute.scheduler)
        workers = count_workers(self.compute.workers, len(calls), memory) if parallel else 1
        logger.debug("%s: %d cases, %d workers", self.stage, len(calls), workers)
        return run_here(calls) if workers == 1 else run_processes(calls, workers)

    def _failure(self, outcome: Outcome) -> SetAside:
        """Turn a failed case into an entry of the list; an unforeseen error keeps its traceback."""
        reason = concealed(str(outcome.reason))
        if outcome.trace is not None:
            folder = self.places.run / "stages" / self.stage / "errors"
            safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in outcome.case)
            reason += "; " + keep_traceback(folder / f"{safe}.txt", outcome.trace)
        logger.warning("%s: set aside: %s", self.stage, _named(outcome.case, reason))
        return SetAside(case=outcome.case, stage=self.stage, reason=reason)


def _named(case: str, reason: str) -> str:
    return reason if reason.startswith("case ") else f"case {case}: {reason}"
