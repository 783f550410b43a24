"""``predictions.jsonl`` in OUT: which model made which output, so that none passes for another's.

A line per output, appended just before the output is renamed into its place. Size and time tell
which line an output belongs to: what was changed by hand, or copied without its time, has none.
Any number of processes may append, and a killed one leaves no false line.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import medseg
from medseg.ensemble_folder import EnsembleFolder, Model
from medseg.errors import ConfigError
from medseg.model_digest import model_digest

logger = logging.getLogger(__name__)

RECORD = "predictions.jsonl"


@dataclass(frozen=True, kw_only=True)
class Maker:
    """The model that made an output."""

    model: str
    """Digest of all that decides a prediction (`medseg.model_digest`)."""
    networks: str
    """In words: which networks predict."""


def maker_of(folder: Model) -> Maker:
    """Return how a model stands in the record."""
    return Maker(model=model_digest(folder), networks=describe_networks(folder))


def describe_networks(folder: Model) -> str:
    """Say in words which networks of a model predict."""
    if isinstance(folder, EnsembleFolder):
        names = ", ".join(part.document.network.name for part in folder.parts)
        return f"ensemble of {len(folder.parts)} models ({names})"
    first, *others = folder.document.members
    name = folder.document.network.name
    if others:
        folds = ", ".join(str(one.fold) for one in folder.document.members)
        return f"{name}, mean of the folds {folds}"
    return f"{name}, {first.best_step:,} of {first.steps:,} steps, fold {first.fold}"


def put_prediction(aside: Path, target: Path, maker: Maker) -> None:
    """Write down who made a finished file, and rename it into its place."""
    size, changed = _look(aside)
    row = {
        "file": target.name,
        "model": maker.model,
        "networks": maker.networks,
        "medseg": medseg.__version__,
        "size": size,
        "changed": changed,
    }
    line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
    file = os.open(target.parent / RECORD, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, line)  # in one piece: two processes do not mix their lines
    finally:
        os.close(file)
    aside.replace(target)


def makers(out: Path, outputs: Iterable[Path]) -> dict[Path, Maker | None]:
    """Look up who made each of the outputs that are there; None where the record does not say.

    Parameters
    ----------
    out : Path
    outputs : iterable of Path
        Predictions in ``out``; those that are not there are left out.
    """
    known = _read(out / RECORD)
    there = [path for path in outputs if path.is_file()]
    return {path: known.get((path.name, *_look(path))) for path in there}


def check_makers(out: Path, made: dict[Path, Maker | None], maker: Maker, remedy: str) -> None:
    """Refuse outputs that another model made, or this one with other folds, rules or settings.

    Raises
    ------
    ConfigError
        With both models and ``remedy``.
    """
    others = [one for one in made.values() if one is not None and one.model != maker.model]
    if not others:
        return
    theirs = " and ".join(sorted({one.networks for one in others})[:2])
    same = theirs == maker.networks
    differs = "with other weights, rules or settings" if same else f"not by {maker.networks}"
    some = "one output is" if len(others) == 1 else f"{len(others)} outputs are"
    raise ConfigError(
        f"{out}: {some} there already, made by another model ({theirs}; {differs}), so nothing was "
        f"written; {remedy}"
    )


def tell_of_unknown(out: Path, kept: Sequence[Path], made: dict[Path, Maker | None]) -> None:
    """Say of how many outputs that are kept it is not known which model made them."""
    unknown = [path for path in kept if made.get(path) is None]
    if unknown:
        logger.warning(
            "%s: %d kept without knowing which model made %s: %s does not say; give another "
            "folder with -o, or --overwrite, if it was another one",
            out,
            len(unknown),
            "it" if len(unknown) == 1 else "them",
            RECORD,
        )


def _look(path: Path) -> tuple[int, int]:
    """Return size and time of change; whole seconds, which every file system keeps."""
    stat = path.stat()
    return stat.st_size, int(stat.st_mtime)


def _read(record: Path) -> dict[tuple[str, int, int], Maker]:
    """Read the record; a line that was cut short by a full disk says nothing."""
    if not record.is_file():
        return {}
    found = {}
    for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            key = str(row["file"]), int(row["size"]), int(row["changed"])
            found[key] = Maker(model=str(row["model"]), networks=str(row["networks"]))
        except (ValueError, KeyError, TypeError):
            logger.debug("%s: a line that cannot be read: %s", record, line)
    return found
