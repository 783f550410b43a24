"""Where the store is, and how MLflow is asked: briefly, quietly, without calling home."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

METADATA_SECONDS = 10
"""Longest wait for an answer to a small request; a store that is down must not hold a run up."""
UPLOAD_SECONDS = 120
"""Longest wait while a file is sent; the store has answered a small request just before."""
OPENING_SECONDS = 120
"""Longest wait for another process that creates the same database (20 s on a busy machine)."""
SQLITE = "sqlite:///"
NOISY = ("mlflow", "alembic", "urllib3.connectionpool")
"""Loggers that speak of migrations and retries; the tracker says in one line what matters."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """A tracking store."""

    uri: str
    """``sqlite:///...``, ``http://...`` or whatever else MLflow takes."""
    artifact_root: Path | None = None
    """Folder for artifacts of a store that is a local file; None: the server knows."""

    @property
    def database(self) -> Path | None:
        """The file of an SQLite store."""
        is_file = self.uri.startswith(SQLITE) and self.uri != SQLITE
        return Path(self.uri.removeprefix(SQLITE)) if is_file else None

    @property
    def shown(self) -> str:
        """The URI without its password, for messages."""
        return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", self.uri)


def locate_store(uri: str | None, runs_dir: Path) -> Store:
    """Find the store: ``uri``, else ``$MLFLOW_TRACKING_URI``, else SQLite beside the runs."""
    runs = runs_dir.absolute()
    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{runs / 'mlflow.db'}"
    database = Store(uri=chosen).database
    if database is None:
        return Store(uri=chosen)
    return Store(uri=chosen, artifact_root=database.absolute().parent / "mlartifacts")


@contextmanager
def opening(store: Store) -> Iterator[None]:
    """Let one process at a time open a store that is a local file.

    MLflow creates and migrates a new database without keeping others out; two runs that do it at
    once leave a database that neither can use.

    Raises
    ------
    TimeoutError
        If another process has been at it for longer than ``OPENING_SECONDS``.
    """
    if store.database is None:
        yield
        return
    from filelock import FileLock

    store.database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(store.database.with_name(f"{store.database.name}.lock"), OPENING_SECONDS):
        yield


@contextmanager
def asking(seconds: int = METADATA_SECONDS) -> Iterator[None]:
    """Let MLflow's client wait ``seconds``, retry once and keep quiet; then restore all that.

    A time-out or a number of retries that the user's environment sets is left as it is.
    """
    wanted = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing leaves a hospital that was not asked for
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    added = {key: value for key, value in wanted.items() if key not in os.environ}
    os.environ.update(added)
    levels: dict[str, int] = {}
    try:
        with warnings.catch_warnings():
            # MLflow warns of its own type hints and dependencies, which no user can mend.
            warnings.simplefilter("ignore")
            _import_mlflow()
            levels = {name: logging.getLogger(name).level for name in NOISY}
            for name in NOISY:
                logging.getLogger(name).setLevel(logging.CRITICAL)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for key in added:
            os.environ.pop(key, None)


def _import_mlflow() -> None:
    """Import MLflow, which sets the levels of its loggers, without the chatter of what it loads."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        import mlflow  # noqa: F401
    finally:
        logging.disable(before)
