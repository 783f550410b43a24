"""Tags that every run carries: code version and who started it."""

from __future__ import annotations

import getpass
import subprocess
from pathlib import Path

import medseg

GIT_SECONDS = 10


def run_tags(folder: Path) -> dict[str, str]:
    """Return the tags that do not depend on the config.

    Parameters
    ----------
    folder : Path
        Working folder; inside a git repository its commit is tagged, and whether files differ.
    """
    tags = {
        "medseg_version": medseg.__version__,
        "mlflow.source.name": "medseg",
        "mlflow.source.type": "LOCAL",
    }
    user = _user()
    if user:
        tags["mlflow.user"] = user
    commit = _git(folder, "rev-parse", "HEAD")
    if commit:
        tags["git_commit"] = tags["mlflow.source.git.commit"] = commit
        tags["git_dirty"] = str(bool(_git(folder, "status", "--porcelain"))).lower()
    return tags


def _git(folder: Path, *arguments: str) -> str | None:
    """Ask git; None without git, or outside a repository."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _user() -> str | None:
    """Name the account; a container's user may have none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None
