"""Do to an MLflow store what the records say; saying it twice changes nothing."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from medseg.tracking.model import write_mlflow_model
from medseg.tracking.params import split_long
from medseg.tracking.spool import Record
from medseg.tracking.store import Store

logger = logging.getLogger(__name__)

LOCAL_ID = "medseg.id"
"""Tag that holds the id a run had in its records before the store gave it its own."""
OFFLINE = "offline-"
"""How such an id begins."""
WITHOUT_EFFECT = ("compute.", "tracking.")
"""Config sections that change no result: another value in them does not make another run."""
METRICS_PER_REQUEST = 1000
PARAMS_PER_REQUEST = 100
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE")
"""Error codes of a store that is up and will never take this record."""


class Delivery:
    """A connection to a store, and which of its runs are meant by the ids in the records.

    A run is created once: it carries the tag ``medseg.id``, and is looked up by it when a record
    that begins a run comes a second time (the answer was lost, or the process was killed before it
    could take the record off its spool).

    Parameters
    ----------
    store : Store
        Opening it creates or migrates a local database.
    """

    def __init__(self, store: Store) -> None:
        from mlflow import MlflowClient

        self.store = store
        self.client: Any = MlflowClient(tracking_uri=store.uri)
        self.ids: dict[str, str] = {}
        self._experiments: dict[str, str] = {}

    def apply(self, record: Record) -> None:
        """Do what one record says.

        Raises
        ------
        mlflow.exceptions.MlflowException, OSError
            If the store cannot be reached, or refuses the record (see `is_unreachable`).
        """
        actions: dict[str, Callable[[Record], None]] = {
            "ids": lambda r: self.ids.update(r["ids"]),
            "start": self._start,
            "stage": self._stage,
            "end": self._end,
            "metrics": lambda r: self.log_metrics([r]),
            "tags": self._tags,
            "dataset": self._dataset,
            "artifacts": self._artifacts,
            "model": self._model,
        }
        actions[record["op"]](record)

    def log_metrics(self, records: Iterable[Record]) -> None:
        """Send the metrics of one run, in as few requests as MLflow allows."""
        from mlflow.entities import Metric

        rows = [
            (record["run"], Metric(key, float(value), record["time"], record["step"]))
            for record in records
            for key, value in record["metrics"].items()
        ]
        for start in range(0, len(rows), METRICS_PER_REQUEST):
            part = rows[start : start + METRICS_PER_REQUEST]
            self.client.log_batch(self._id(part[0][0]), metrics=[metric for _, metric in part])

    def _id(self, run: str) -> str:
        """Turn the id of a record into the store's."""
        return self.ids.get(run, run)

    def _start(self, record: Record) -> None:
        """Begin a run, or go on with one."""
        experiment = self._experiment(record["experiment"])
        local, run = record["run"], self._find(record["run"], experiment)
        if run is not None and self._is_another(run, record["params"]):
            local, run = record["anew"], self._find(record["anew"], experiment)
        if run is None:
            tags = {**record["tags"], LOCAL_ID: local}
            run = self._create(experiment, record["name"], tags, record["time"])
        self.ids[record["run"]] = run
        self._close_children(run, experiment, record["time"])
        self.client.update_run(run, status="RUNNING")
        self._set_tags(run, record["tags"])
        self._params(run, record["params"])

    def _is_another(self, run: str, params: Mapping[str, str]) -> bool:
        """Tell whether a finished run had another config, so that these are two to compare."""
        found = self.client.get_run(run)
        return found.info.status == "FINISHED" and any(
            key in params and params[key] != value and not key.startswith(WITHOUT_EFFECT)
            for key, value in found.data.params.items()
        )

    def _experiment(self, name: str) -> str:
        """Return the id of an experiment; create it, or bring it back from the bin."""
        from mlflow.exceptions import MlflowException

        if name in self._experiments:
            return self._experiments[name]
        found = self.client.get_experiment_by_name(name)
        if found is None:
            root = self.store.artifact_root
            location = None if root is None else (root / name.replace("/", "_")).as_uri()
            try:
                self._experiments[name] = self.client.create_experiment(name, location)
                return self._experiments[name]
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self.client.get_experiment_by_name(name)  # another run was quicker
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        self._experiments[name] = found.experiment_id
        return self._experiments[name]

    def _find(self, run: str, experiment: str) -> str | None:
        """Return the store's id of a run, if it has it and it is not in the bin."""
        from mlflow.exceptions import MlflowException

        if run in self.ids:
            return self.ids[run]
        if not run.startswith(OFFLINE):
            try:
                info = self.client.get_run(run).info
            except MlflowException as error:
                if not is_refused(error):
                    raise
            else:
                return run if info.lifecycle_stage == "active" else None
        found = self.client.search_runs([experiment], f"tags.`{LOCAL_ID}` = '{run}'", max_results=1)
        return found[0].info.run_id if found else None

    def _create(self, experiment: str, name: str, tags: Mapping[str, str], time: int) -> str:
        run = self.client.create_run(experiment, start_time=time, tags=dict(tags), run_name=name)
        run_id: str = run.info.run_id
        return run_id

    def _close_children(self, run: str, experiment: str, time: int) -> None:
        """Mark stages as killed that a killed process left running."""
        running = f"tags.`mlflow.parentRunId` = '{run}' and attributes.status = 'RUNNING'"
        for child in self.client.search_runs([experiment], running):
            self.client.set_terminated(child.info.run_id, "KILLED", time)

    def _params(self, run: str, params: Mapping[str, str]) -> None:
        """Log parameters; MLflow never overwrites one, so a changed one goes to an artifact."""
        from mlflow.entities import Param

        known = self.client.get_run(run).data.params
        short, long = split_long(params)
        new = iter([Param(k, v) for k, v in short.items() if k not in known])
        while part := list(islice(new, PARAMS_PER_REQUEST)):
            self.client.log_batch(run, params=part)
        changed = {k: v for k, v in short.items() if k in known and known[k] != v}
        if long:
            self.client.log_dict(run, long, "config/params_long.json")
        if changed:
            self.client.log_dict(run, changed, "config/params_changed.json")
            self._set_tags(run, {"params_changed": ", ".join(sorted(changed))})

    def _stage(self, record: Record) -> None:
        """Begin the nested run of a stage."""
        parent = self._id(record["parent"])
        experiment = self.client.get_run(parent).info.experiment_id
        run = self._find(record["run"], experiment)
        if run is None:
            tags = {**record["tags"], LOCAL_ID: record["run"], "mlflow.parentRunId": parent}
            run = self._create(experiment, record["name"], tags, record["time"])
        self.ids[record["run"]] = run

    def _end(self, record: Record) -> None:
        self.client.set_terminated(self._id(record["run"]), record["status"], record["time"])

    def _tags(self, record: Record) -> None:
        self._set_tags(self._id(record["run"]), record["tags"])

    def _set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self.client.log_batch(run, tags=[RunTag(key, value) for key, value in tags.items()])

    def _dataset(self, record: Record) -> None:
        """Log one input per split; MLflow keeps one context per name and digest."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(
                    name=f"{record['name']}/{split}",
                    digest=record["digest"][:36],
                    source_type="medseg_manifest",
                    source=json.dumps({"uri": record["source"]}),
                    profile=json.dumps({"cases": cases}),
                ),
                [InputTag("mlflow.data.context", split)],
            )
            for split, cases in record["splits"].items()
        ]
        self.client.log_inputs(self._id(record["run"]), datasets=inputs)

    def _artifacts(self, record: Record) -> None:
        path, target = Path(record["path"]), record["artifact_path"] or None
        if path.is_dir():
            self.client.log_artifacts(self._id(record["run"]), str(path), target)
        elif path.exists():
            self.client.log_artifact(self._id(record["run"]), str(path), target)
        else:
            logger.warning("%s was to be sent to MLflow but is no longer there", path)

    def _model(self, record: Record) -> None:
        folder = Path(record["path"])
        if not folder.is_dir():
            logger.warning("%s was to be sent to MLflow but is no longer there", folder)
            return
        with tempfile.TemporaryDirectory() as scratch:
            packed = Path(scratch) / "model"
            run = self._id(record["run"])
            write_mlflow_model(folder, packed, tuple(record["input_shape"]), run_id=run)
            self.client.log_artifacts(run, str(packed), record["name"])


def is_refused(error: BaseException) -> bool:
    """Tell whether the store answered, and will give the same answer again."""
    return getattr(error, "error_code", None) in REFUSED


def is_unreachable(error: BaseException) -> bool:
    """Tell whether the store could not be asked, so that a later try may do better."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, OSError | MlflowException | SQLAlchemyError) and not is_refused(error)


def grouped(records: Iterable[tuple[int, Record]]) -> Iterator[tuple[int, list[Record]]]:
    """Join runs of metric records of one MLflow run; yield each group with the offset after it."""
    group: list[Record] = []
    end, size = 0, 0
    for offset, record in records:
        joins = record["op"] == "metrics" and group and group[0]["op"] == "metrics"
        if group and not (joins and group[0]["run"] == record["run"] and size < 1000):
            yield end, group
            group, size = [], 0
        group.append(record)
        size += len(record.get("metrics", ()))
        end = offset
    if group:
        yield end, group
