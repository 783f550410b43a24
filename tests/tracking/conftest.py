"""One migrated SQLite store for all tests, and a real server on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from medseg.tracking.mlflow_tracker import MlflowTracker
from medseg.tracking.store import Store, asking, locate_store

HEALTH_SECONDS = 120


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated store; the first use of a database costs two seconds of migrations."""
    from medseg.tracking.deliver import Delivery

    folder = tmp_path_factory.mktemp("template")
    with asking():
        Delivery(locate_store(None, folder))
    return folder / "mlflow.db"


@pytest.fixture
def runs(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs with a store that is ready, seen from a working folder without git."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.copy(template, folder / "mlflow.db")
    return folder


@pytest.fixture
def store(runs: Path) -> Store:
    return locate_store(None, runs)


@pytest.fixture
def tracker(store: Store, runs: Path) -> MlflowTracker:
    return MlflowTracker(store, runs / "liver")


@pytest.fixture
def client(store: Store) -> Any:
    from mlflow import MlflowClient

    with asking():  # MLflow's first use of SQLAlchemy warns
        return MlflowClient(store.uri)


@contextmanager
def run_server(folder: Path, port: int) -> Iterator[str]:
    """Run ``mlflow server`` over a database in ``folder``; it is gone when the block ends."""
    uri = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
        try:
            wait_for_health(uri, process, folder / "server.log")
            yield uri
        finally:
            stop(process)


def wait_for_health(uri: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + HEALTH_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"mlflow server did not come up:\n{log.read_text()[-2000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers; they are a process group of their own."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=20)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
