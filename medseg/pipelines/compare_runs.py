"""What `medseg compare` is given: run folders, folders with a metrics.csv, MLflow run ids."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import ConfigError
from medseg.pipelines.store import read_json

if TYPE_CHECKING:
    from medseg.tracking.store import Store

logger = logging.getLogger(__name__)

RUN_ID = re.compile(r"[0-9a-f]{32}")
PLACES = ("report/metrics.csv", "metrics.csv")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One run to compare."""

    name: str
    """Different for every run of a comparison."""
    metrics: Path


def find_sources(given: Sequence[str], store: Store, scratch: Path) -> list[Source]:
    """Find the metrics.csv of every run.

    Parameters
    ----------
    given : sequence of str
        Folders, metrics.csv files, or MLflow run ids.
    store : Store
        Asked for run ids.
    scratch : Path
        Folder for what is downloaded.

    Raises
    ------
    ConfigError
        If a run is neither, or has no metrics.csv.
    """
    found: list[tuple[list[str], Path]] = []
    for text in given:
        path = Path(text)
        if path.exists():
            metrics = _metrics_of(path)
            folder = path.resolve() if path.is_dir() else path.resolve().parent
            found.append((list(folder.parts[1:]) or [text], metrics))
        elif RUN_ID.fullmatch(text):
            from medseg.tracking.fetch import fetch_report

            run = fetch_report(text, store, scratch / text)
            found.append(([text[:8], run.name], run.metrics))
        else:
            raise ConfigError(f"{text}: no such folder, and no MLflow run id{_hint(path)}")
    names = _short_names([parts for parts, _ in found])
    return [Source(name=n, metrics=m) for n, (_, m) in zip(names, found, strict=True)]


def _metrics_of(path: Path) -> Path:
    """Return the metrics.csv of a folder; warn where its run has not finished."""
    if path.is_file():
        return path
    status = read_json(path / "run.json").get("status", "done")
    if status != "done":
        logger.warning("%s: this run's status is '%s'; its report may be an old one", path, status)
    for place in PLACES:
        if (path / place).is_file():
            return path / place
    raise ConfigError(
        f"{path}: holds neither {' nor '.join(PLACES)}; give a run folder whose report is done, or "
        "the OUT folder of 'medseg evaluate'"
    )


def _short_names(parts: Sequence[Sequence[str]]) -> list[str]:
    """Return the shortest ends of the paths that tell the runs apart; number equal ones."""
    depth = 1
    names = [list(p)[-depth:] for p in parts]
    while len({tuple(n) for n in names}) < len(names) and depth < max(map(len, parts)):
        depth += 1
        names = [list(p)[-depth:] for p in parts]
    texts = ["/".join(name) for name in names]
    if len(set(texts)) == len(texts):
        return texts
    texts = ["/".join(list(p)[-1:]) for p in parts]
    return [
        f"{text} ({texts[: i + 1].count(text)})" if texts.count(text) > 1 else text
        for i, text in enumerate(texts)
    ]


def _hint(path: Path) -> str:
    """Name the folder that was meant, if one beside it looks alike."""
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent} either"
    beside = [p.name for p in path.parent.iterdir() if p.is_dir() and not p.name.startswith(".")]
    found = difflib.get_close_matches(path.name, beside, n=1)
    return f"; did you mean {path.parent / found[0]}?" if found else "; give a run folder"
