"""The tracker that writes to MLflow, through a spool that outlives kills and absent servers."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medseg.tracking.deliver import OFFLINE, Delivery, grouped, is_unreachable
from medseg.tracking.params import flatten, safe_name
from medseg.tracking.spool import Record, Spool
from medseg.tracking.store import METADATA_SECONDS, UPLOAD_SECONDS, Store, asking, opening
from medseg.tracking.tags import run_tags
from medseg.tracking.tracker import Status
from medseg.tracking.usage import memory_gb

logger = logging.getLogger(__name__)

SPOOL = "tracking_spool.jsonl"
"""Name of the spool in a run folder."""
FLUSH_SECONDS = 15.0
"""Metrics wait this long for company before they are sent."""
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 300.0
"""Seconds before a store that failed is asked again; doubled each time."""


class MlflowTracker:
    """A `medseg.tracking.Tracker` over an MLflow store.

    Every record is first appended to a spool in the run folder and taken off it once the store
    has it. A store that is down, a full disk on its side or a killed process therefore cost
    nothing but time: the next flush, or the next start of the same run, delivers what is left.

    Parameters
    ----------
    store : Store
        Opened at `start`.
    run_dir : Path
        Run folder.
    """

    def __init__(self, store: Store, run_dir: Path) -> None:
        self.store = store
        self.run_dir = run_dir.absolute()
        self.spool = Spool(self.run_dir / SPOOL)
        self._run: str | None = None
        self._delivery: Delivery | None = None
        self._lock = threading.RLock()
        self._next_flush = 0.0
        self._pause = FIRST_PAUSE
        self._warned = False
        self._refused: set[str] = set()

    @property
    def run_id(self) -> str | None:
        """Id to resume by: MLflow's, or one that begins with ``offline-``."""
        if self._run is None or self._delivery is None:
            return self._run
        return self._delivery.ids.get(self._run, self._run)

    @property
    def where(self) -> str:
        """The store's URI without its password."""
        return self.store.shown

    def start(
        self,
        experiment: str,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        resume_run_id: str | None = None,
    ) -> str | None:
        """Open a run or go on with one; first deliver what an earlier process left behind."""
        self._run = resume_run_id or _offline_id()
        self._add(
            "start",
            anew=_offline_id(),
            experiment=experiment,
            name=run_name,
            params=flatten(params),
            tags=_named({**run_tags(Path.cwd()), **tags}),
        )
        self.flush(force=True)
        return self.run_id

    @contextmanager
    def stage(self, name: str, *, key: str = "") -> Iterator[None]:
        """Enclose one stage in a nested run."""
        stage, began = _offline_id(), time.monotonic()
        self._add(
            "stage", run=stage, parent=self.run_id, name=name, tags={"stage": name, "key": key}
        )
        self.flush()
        status: Status = "KILLED"
        try:
            yield
            status = "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            seconds = time.monotonic() - began
            used = {"seconds": seconds, **memory_gb()}
            self._add("metrics", run=stage, metrics=used, step=0)
            of_run = {f"system/{what}/{safe_name(name)}": value for what, value in used.items()}
            self._add("metrics", metrics=of_run, step=0)
            self._add("end", run=stage, status=status)
            self.flush()

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep metrics with the present time; send them when the last sending is a while ago."""
        named = {safe_name(key): float(value) for key, value in metrics.items()}
        self._add("metrics", metrics=named, step=step)
        if time.monotonic() >= self._next_flush:
            self.flush()

    def log_dataset(self, name: str, digest: str, splits: Mapping[str, int], source: str) -> None:
        """Record the data set, one input per split, and tags to filter runs by."""
        self._add("dataset", name=name, digest=digest, splits=dict(splits), source=source)
        self.set_tags({"data": name, "data_digest": digest})

    def log_artifacts(self, path: Path, artifact_path: str = "") -> None:
        """Send a file or a folder."""
        self._add("artifacts", path=str(path.absolute()), artifact_path=artifact_path)
        self.flush()

    def log_model(self, folder: Path, *, input_shape: tuple[int, ...], name: str = "model") -> None:
        """Send a model folder with an MLmodel file around it."""
        shape = [int(n) for n in input_shape]
        self._add("model", path=str(folder.absolute()), input_shape=shape, name=name)
        self.flush()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags with the next sending."""
        self._add("tags", tags=_named(tags))

    def finish(self, status: Status) -> None:
        """Close the run and send what is left."""
        self._add("end", status=status)
        self.flush(force=True)

    def replay(self) -> None:
        """Deliver what an earlier process of this run could not; opens no run."""
        if self.spool.path.exists():
            self.flush(force=True)

    def flush(self, *, force: bool = False) -> bool:
        """Send all that waits; tell whether the store has it now.

        Parameters
        ----------
        force : bool
            Ask the store even if it failed a moment ago.
        """
        with self._lock:
            if self._warned and not force and time.monotonic() < self._next_flush:
                return False
            try:
                self._drain()
            except Exception as error:  # noqa: BLE001 - no failure of the store may cost a run
                self._down(error)
                return False
            self._up()
            return True

    def _add(self, op: str, **arguments: Any) -> None:
        """Put a record on the spool."""
        record = {"op": op, "run": self.run_id, "time": int(time.time() * 1000), **arguments}
        try:
            with self._lock:
                self.spool.append(record)
        except OSError as error:
            # The run folder cannot be written: the stages will say so where it matters.
            logger.warning("cannot keep a tracking record in %s: %s", self.spool.path, error)

    def _drain(self) -> None:
        """Deliver the spool from its head; take off what was delivered, even if not all was."""
        if self._delivery is None:
            with opening(self.store), asking():
                self._delivery = Delivery(self.store)
        done = 0
        try:
            for offset, records in grouped(self.spool.read()):
                self._deliver(self._delivery, records)
                done = offset
        finally:
            if done:
                self.spool.drop(done, self._delivery.ids)

    def _deliver(self, delivery: Delivery, records: list[Record]) -> None:
        """Deliver a group; what the store will never take is named and left out."""
        op = records[0]["op"]
        seconds = UPLOAD_SECONDS if op in ("artifacts", "model") else METADATA_SECONDS
        try:
            with asking(seconds):
                if op == "metrics":
                    delivery.log_metrics(records)
                else:
                    delivery.apply(records[0])
        except Exception as error:
            if op in ("start", "stage") or is_unreachable(error):
                raise
            if op not in self._refused:
                self._refused.add(op)
                logger.warning("MLflow refused %s of this run: %s", op, _brief(error))

    def _down(self, error: Exception) -> None:
        """Warn once, and leave the store alone for a while."""
        logger.debug("MLflow at %s failed", self.where, exc_info=error)
        if not self._warned:
            logger.warning(
                "MLflow at %s does not answer (%s); the run goes on, its records wait in %s and "
                "are sent when it is back",
                self.where,
                _brief(error),
                self.spool.path,
            )
        else:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._warned = True
        self._next_flush = time.monotonic() + self._pause

    def _up(self) -> None:
        """Note that the store has everything."""
        if self._warned:
            logger.info("MLflow at %s is back and has all records of this run", self.where)
        self._warned, self._pause = False, FIRST_PAUSE
        self._next_flush = time.monotonic() + FLUSH_SECONDS


def _offline_id() -> str:
    """Invent the id of a run that the store has not seen yet."""
    return f"{OFFLINE}{uuid.uuid4().hex}"


def _named(tags: Mapping[str, str]) -> dict[str, str]:
    """Give tags names and values MLflow takes."""
    return {safe_name(key): str(value) for key, value in tags.items()}


def _brief(error: BaseException) -> str:
    """Return the first line of an error, short enough for a log line."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first.partition(' with exception')[0][:200]}"
