"""Bring the report of a tracked run back from MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.errors import ConfigError
from medseg.tracking.store import UPLOAD_SECONDS, Store, asking

METRICS_FILE, SUMMARY_FILE = "report/metrics.csv", "report/summary.json"


@dataclass(frozen=True, kw_only=True)
class FetchedRun:
    """A run's report on this machine."""

    name: str
    """MLflow's run name, or the id where it has none."""
    metrics: Path
    """metrics.csv; the summary.json is beside it if the run has one."""


def fetch_report(run_id: str, store: Store, into: Path) -> FetchedRun:
    """Download metrics.csv and summary.json of a run.

    Parameters
    ----------
    run_id : str
        MLflow's id.
    store : Store
    into : Path
        Folder for the files; created.

    Raises
    ------
    ConfigError
        If the store does not exist or answer, or has no such run, or the run has no metrics.csv.
    """
    if store.database is not None and not store.database.is_file():
        raise ConfigError(
            f"run {run_id}: there is no MLflow store at {store.shown}; name it with --uri, or give "
            "the run folder"
        )
    with asking(UPLOAD_SECONDS):
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            client = MlflowClient(store.uri)
            run = client.get_run(run_id)
            files = {entry.path for entry in client.list_artifacts(run_id, "report")}
            if METRICS_FILE not in files:
                raise ConfigError(
                    f"run {run_id} in {store.shown} has no {METRICS_FILE}; was it finished, and is "
                    "it the run of a whole pipeline?"
                )
            into.mkdir(parents=True, exist_ok=True)
            here = {
                file: Path(client.download_artifacts(run_id, file, str(into)))
                for file in sorted(files & {METRICS_FILE, SUMMARY_FILE})
            }
        except (MlflowException, OSError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"run {run_id} cannot be read from {store.shown}: {first[:200]}; check the id and "
                "--uri"
            ) from error
    return FetchedRun(name=run.info.run_name or run_id, metrics=here[METRICS_FILE])
