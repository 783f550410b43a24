"""Run the stages of an experiment in order: skip what is done, go on where one was killed."""

from __future__ import annotations

import logging
import time
import traceback
from typing import Any

from medseg.artefacts import Dataset, Plan
from medseg.errors import MedsegError, StageError
from medseg.identifiers import concealed
from medseg.pipelines.build import SCRATCH, Experiment
from medseg.pipelines.context import RunContext
from medseg.pipelines.forecast import forecast, node_key
from medseg.pipelines.guarded import Guarded
from medseg.pipelines.keys import artefact_digest
from medseg.pipelines.machine import (
    check_device,
    host,
    resolve_device,
    seed_everything,
    versions,
)
from medseg.pipelines.options import (
    DONE,
    INTERRUPTED,
    SET_ASIDE,
    Forecast,
    Options,
    Outcome,
    select,
)
from medseg.pipelines.peak import peak_memory_mb
from medseg.pipelines.progress import clock
from medseg.pipelines.records import (
    begin_record,
    decisions_of,
    keep_traceback,
    track,
    write_config,
    write_plan,
)
from medseg.pipelines.runfolder import RunFolder, StageFolder, now
from medseg.pipelines.signals import interruptible, stop_children
from medseg.pipelines.wiring import Node, wire
from medseg.tracking import make_tracker

logger = logging.getLogger(__name__)

SPOOL = "tracking_spool.jsonl"
"""What tracking could not deliver; `medseg.tracking.mlflow_tracker` writes it."""


class Runner:
    """One run of an experiment.

    Parameters
    ----------
    experiment : Experiment
        What `medseg.pipelines.build.load_experiment` returned.
    options : Options
        How to run.

    Raises
    ------
    WiringError
        If the stages do not fit together.
    ConfigError
        If an option names a stage that is not there, or no device.
    """

    def __init__(self, experiment: Experiment, options: Options | None = None) -> None:
        self.experiment, self.options = experiment, options or Options()
        self.nodes = wire(experiment.stages, experiment.inputs)
        self.device_name = check_device(self.options.device or experiment.compute.device)
        self.device = ""  # resolved before the first stage that runs: it imports torch
        self.asked, self.nodes = select(self.nodes, self.options)
        self.folder = RunFolder(self.options.runs_dir, experiment.name, SCRATCH)
        self.tracker = Guarded(
            lambda: make_tracker(experiment.tracking, self.folder.runs_dir, self.folder.path)
        )
        self.artefacts: dict[str, Any] = {}
        self.digests: dict[str, str] = {}
        self.finished: list[StageFolder] = []
        self.ran: list[str] = []
        self.record: dict[str, Any] = {}

    def run(self) -> Outcome:
        """Run what is not done.

        Returns
        -------
        Outcome
            With exit code 0, 3 (cases were set aside) or 130 (interrupted).

        Raises
        ------
        RunBusyError
            If another process works in the run folder.
        StageError
            If a stage failed; any other `MedsegError` that a stage raised comes through as well.
        """
        with self.folder.locked(), interruptible():
            self.record = self._begin(self.folder.record())
            try:
                for node in self.nodes:
                    self._stage(node)
            except KeyboardInterrupt:
                stop_children()
                self._end("interrupted")
                logger.warning("interrupted; the same command goes on from here")
                return self._outcome(INTERRUPTED)
            except Exception as error:
                self._end_failed(error)
                raise
            self._end("done")
        outcome = self._outcome(DONE)
        self._tell(outcome)
        return outcome

    def dry_run(self) -> tuple[Forecast, ...]:
        """Say what `run` would do, as far as can be known without doing it; nothing is written."""
        return forecast(self.nodes, self.folder, self.asked)

    def _begin(self, before: dict[str, Any]) -> dict[str, Any]:
        """Return the record of this run, going on from one that was killed."""
        write_config(self.folder.path / "config.yaml", self.experiment.resolved)
        return begin_record(self.experiment.name, self.asked, before)

    def _stage(self, node: Node) -> None:
        """Bring one stage to its result, and show it."""
        place = self.folder.stage(node.name, node_key(node, self.folder.places, self.digests))
        forced = node.name in self.asked and node.name not in self.record["recompute"]["done"]
        if not forced:
            place.promote()
        if forced or not place.is_done():
            self._compute(node, place, forced=forced)
        else:
            logger.info("%s: done (%s)", node.name, place.key)
        text = place.text()
        self.digests[node.writes] = artefact_digest(text, place.key)
        artefact = self.folder.places.within(place.final).load(text, node.kind)
        self.artefacts[node.writes] = artefact
        self.finished.append(place)
        self._show(node, place, artefact)

    def _show(self, node: Node, place: StageFolder, artefact: Any) -> None:
        """Put what users look for where they look for it."""
        self.folder.publish(place, tuple(getattr(node.stage, "publishes", ())))
        decisions = decisions_of(artefact)
        if decisions is not None:
            write_plan(self.folder.path / "plan.yaml", decisions)
        if isinstance(artefact, Dataset):
            info = artefact.info
            self.record["data"] = {"name": info.name, "origin": info.origin, "digest": info.digest}
        self.record["stages"][node.name] = {"key": place.key, **place.record()}
        if self.ran:
            self._save()
            self._track(artefact)

    def _compute(self, node: Node, place: StageFolder, *, forced: bool) -> None:
        """Run one stage in its partial folder and rename it."""
        self._open()
        recompute, started = self.record["recompute"], time.time()
        afresh = forced and node.name not in recompute["begun"]
        if forced:
            recompute["begun"].setdefault(node.name, started)
        self.record["stages"][node.name] = {"key": place.key, "status": "running", "started": now()}
        self._save()
        context = RunContext(
            node.name,
            place.open(afresh=afresh),
            places=self.folder.places,
            device=self.device,
            compute=self.experiment.compute,
            tracker=self.tracker,
            display=self.options.display,
            earlier_set_aside=tuple(one for done in self.finished for one in done.set_aside()),
            earlier_stages=tuple(done.time() for done in self.finished),
            fresh_after=recompute["begun"][node.name] if forced else None,
        )
        seed_everything(self.experiment.seed, node.name)
        logger.info("%s: starts", node.name)
        with self.tracker.stage(node.name, key=place.key):
            text = self._call(node, context)
        record = {
            "stage": node.name,
            "status": "done",
            "started": self.record["stages"][node.name]["started"],
            "finished": now(),
            "seconds": round(time.time() - started, 2),
            "peak_memory_mb": peak_memory_mb(),
            "device": self.device,
            "set_aside": context.listed,
        }
        place.finish(text, record)
        if forced:
            recompute["done"].append(node.name)
        self.ran.append(node.name)
        logger.info("%s: done in %s", node.name, clock(time.time() - started))

    def _call(self, node: Node, context: RunContext) -> str:
        """Call the stage and return its artefact as JSON; wrap errors that were not foreseen."""
        inputs = {parameter: self.artefacts[name] for parameter, name in node.reads.items()}
        try:
            artefact = node.stage.run(**inputs, context=context)
            if isinstance(node.kind, type) and not isinstance(artefact, node.kind):
                raise TypeError(f"run returned {type(artefact).__name__}, not {node.kind.__name__}")
            return self.folder.places.within(context.workdir).dump(artefact, node.kind)
        except MedsegError:
            raise
        except Exception as error:
            file = self.folder.path / "stages" / node.name / "errors" / "stage.txt"
            kept = keep_traceback(file, traceback.format_exc())
            raise StageError(
                f"stage {node.name} failed: {type(error).__name__}: {error}; {kept}; mend the "
                "cause and give the same command again"
            ) from error

    def _open(self) -> None:
        """Before the first stage that runs: find the device, open the tracker."""
        if self.device:
            return
        self.device = resolve_device(self.device_name)
        manifest = self.experiment.manifest
        origin = "SYNTHETIC" if manifest and manifest.synthetic else "real"
        logger.info("run folder %s, device %s, data %s", self.folder.path, self.device, origin)
        self.record |= {"versions": versions(), "device": self.device, "host": host()}
        earlier = self.record["mlflow"].get("run_id")
        self.tracker.start(
            self.experiment.name,
            f"{self.experiment.name} {now()}",
            self.experiment.resolved,
            {"device": self.device, "data_origin": origin},
            earlier,
        )
        self.tracker.log_artifacts(self.folder.path / "config.yaml")
        for artefact in self.artefacts.values():
            self._track(artefact)

    def _track(self, artefact: Any) -> None:
        """Hand an artefact to the tracker."""
        plans = [one for one in self.artefacts.values() if isinstance(one, Plan)]
        plan = plans[0] if plans else None
        track(artefact, self.tracker, self.folder.path, plan, self.experiment.manifest)

    def _save(self) -> None:
        """Write run.json."""
        if self.tracker.run_id is not None:
            self.record["mlflow"] = {"run_id": self.tracker.run_id, "where": self.tracker.where}
        self.record["set_aside"] = [one for place in self.finished for one in place.set_aside()]
        self.folder.write_record({k: v for k, v in self.record.items() if k != "before"})

    def _end(self, status: str, reason: str = "") -> None:
        """Close the record and the tracker; a run that had nothing to do leaves both alone."""
        before = self.record["before"]
        keys = {name: entry.get("key") for name, entry in self.record["stages"].items()}
        known = {name: entry.get("key") for name, entry in before.get("stages", {}).items()}
        if not self.device and (self.folder.path / SPOOL).exists():
            self.tracker.replay()
        if not self.device and status == before.get("status") and keys.items() <= known.items():
            return
        self.record["status"] = status
        self.record["finished"] = now()
        if not self.device:  # nothing was computed: who computed is as it was
            same = ("versions", "device", "host", "mlflow")
            self.record |= {name: before[name] for name in same if name in before}
        if reason:
            self.record["error"] = reason
        if self.device:
            ends = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
            self.tracker.finish(ends[status])  # type: ignore[arg-type]
        self._save()

    def _end_failed(self, error: Exception) -> None:
        """Close the record; where that fails too, the first error is the one that is told."""
        try:
            self._end("failed", concealed(str(error)))
        except Exception as second:  # noqa: BLE001 - a full disk often is the cause of both
            logger.warning("run.json does not say so: %s", concealed(str(second)))

    def _outcome(self, exit_code: int) -> Outcome:
        """Sum up."""
        aside = tuple(one for place in self.finished for one in place.set_aside())
        code = SET_ASIDE if exit_code == DONE and aside else exit_code
        return Outcome(code, self.folder.path, tuple(self.ran), aside, self.artefacts)

    def _tell(self, outcome: Outcome) -> None:
        """Say how it ended."""
        if not self.ran:
            logger.info("nothing to do: every stage is done; results in %s", outcome.folder)
        else:
            logger.info("done; results in %s", outcome.folder)
        if outcome.set_aside:
            rows = [
                f"  {one.stage}: case {one.case}, as told above"
                if one.stage in self.ran
                else f"  {one.stage}: {one.reason}"
                for one in outcome.set_aside
            ]
            some = "1 case was" if len(rows) == 1 else f"{len(rows)} cases were"
            logger.warning("%s set aside and in no result:\n%s", some, "\n".join(rows))
