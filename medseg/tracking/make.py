"""The tracker that the config asks for."""

from __future__ import annotations

from pathlib import Path

from medseg.settings import Tracking
from medseg.tracking.tracker import NullTracker, Tracker


def make_tracker(settings: Tracking, runs_dir: Path, run_dir: Path) -> Tracker:
    """Choose the tracker a config asks for; nothing is opened before `Tracker.start`.

    Parameters
    ----------
    settings : Tracking
        The config's ``tracking`` section. The store is ``settings.uri``, else
        ``$MLFLOW_TRACKING_URI``, else SQLite in ``runs_dir/mlflow.db`` with its artifacts under
        ``runs_dir/mlartifacts``.
    runs_dir : Path
        Folder that holds all runs.
    run_dir : Path
        Folder of this run; what cannot be delivered waits there in ``tracking_spool.jsonl``.
    """
    if not settings.enabled:
        return NullTracker()
    from medseg.tracking.mlflow_tracker import MlflowTracker
    from medseg.tracking.store import locate_store

    return MlflowTracker(locate_store(settings.uri, runs_dir), run_dir)
