from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import pytest

from medseg.tracking.store import asking


def test_settings_hold_only_while_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    before = dict(os.environ)
    with suppress(KeyboardInterrupt), asking(7):
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
        raise KeyboardInterrupt
    assert dict(os.environ) == before


def test_what_the_user_set_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "300")
    with asking(7):
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "300"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "300"


def test_loggers_and_warnings_are_quiet_only_while_asking() -> None:
    migrations = logging.getLogger("alembic")
    level = migrations.level
    with asking():
        assert not migrations.isEnabledFor(logging.WARNING)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert migrations.level == level
    with pytest.raises(DeprecationWarning):
        warnings.warn("old", DeprecationWarning, stacklevel=1)


CHILD = """
import sys
from pathlib import Path
from medseg.tracking.mlflow_tracker import MlflowTracker
from medseg.tracking.store import locate_store
runs = Path(sys.argv[1])
tracker = MlflowTracker(locate_store(None, runs), runs / sys.argv[2])
tracker.start("together", sys.argv[2], {}, {})
tracker.finish("FINISHED")
"""


@pytest.mark.slow
def test_two_runs_may_create_the_store_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    commands = [[sys.executable, "-c", CHILD, str(tmp_path), name] for name in ("a", "b")]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    assert [child.communicate(timeout=300)[1] for child in children] == [b"", b""]
    from mlflow import MlflowClient

    with asking():  # MLflow's first use of SQLAlchemy warns
        client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("together").experiment_id
    runs = client.search_runs([experiment])
    assert {r.info.run_name: r.info.status for r in runs} == {"a": "FINISHED", "b": "FINISHED"}
