"""`medseg predict --watch`: predict what arrives in a folder, with the model loaded once."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from medseg.artefacts import SetAside
from medseg.case import Case
from medseg.ensemble_folder import Model
from medseg.errors import ConfigError
from medseg.identifiers import Identifiers, concealed
from medseg.pipelines.predict_case import name_targets, predict_cases
from medseg.pipelines.predict_inputs import STAGE, group_channels, image_files, series_cases
from medseg.pipelines.predict_record import check_makers, maker_of, makers, tell_of_unknown
from medseg.pipelines.predict_report import Pages, write_index
from medseg.pipelines.shown_names import tell_of_hashes, write_names
from medseg.pipelines.store import read_json, write_json

if TYPE_CHECKING:
    from medseg.dicom_out import Wanted
    from medseg.inference.maps import MapName
    from medseg.inference.mixture import Mixture
    from medseg.inference.predictor import Predictor
    from medseg.stages.context import Progress

logger = logging.getLogger(__name__)

FAILURES = "watch_failures.json"
"""In OUT: what could not be predicted, why, and in which state the files were."""

KEPT = (
    "--watch keeps what is there: give another folder with -o, or make them anew first (predict "
    "--overwrite, without --watch)"
)

Signature = tuple[tuple[str, int, int], ...]
"""Name, size and time of change of each file: equal signatures, equal files."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A case that is not tried again until its files change."""

    reason: str
    state: str
    """Digest of its signature: the names of files may be the patient's."""


class Watcher:
    """What lies in a folder, what has been done, and what has arrived whole.

    A file or a DICOM folder has arrived when it looks the same in two looks one after another.
    What has an output is done, also after a restart.

    Parameters
    ----------
    source, out : Path
        Folder that is watched, and where predictions go.
    channels : sequence of str
    ndim : int
    identifiers : {"drop", "hash", "keep"}
        As for `medseg.pipelines.predict_inputs.find_cases`.
    """

    def __init__(
        self,
        source: Path,
        out: Path,
        channels: Sequence[str],
        ndim: int,
        identifiers: Identifiers = "drop",
    ) -> None:
        self.source, self.out, self.channels, self.ndim = source, out, channels, ndim
        self.identifiers: Identifiers = identifiers
        self.seen: dict[Path, Signature] = {}
        self.series: dict[Path, tuple[Signature, list[Case], list[SetAside]]] = {}
        stored = read_json(out / FAILURES)
        self.failures = {name: Failure(**value) for name, value in stored.items()}

    def look(self) -> list[Case]:
        """Return the cases that have arrived since and are to be predicted."""
        before, self.seen = self.seen, {}
        files = [
            path for path in image_files(self.source, self.ndim) if self._settled(path, before)
        ]
        cases, aside = group_channels(files, self.channels)
        if self.ndim == 3:
            below = sorted(p for p in self.source.rglob("*") if p.is_dir() and not self._own(p))
            for folder in below:
                if self._settled(folder, before):
                    found, unreadable = self._list(folder)
                    cases, aside = [*cases, *found], [*aside, *unreadable]
        targets = name_targets(cases, self.out, self.ndim)
        waiting = [case for case in cases if not targets[case.id].is_file()]
        count = Counter(case.id for case in waiting)
        for name in (name for name, times in count.items() if times > 1):
            paths = ", ".join(str(c.image[0].path) for c in waiting if c.id == name)
            aside.append(SetAside(case=name, stage=STAGE, reason=f"{paths}: one name; rename one"))
        for one in aside:
            self.fail(one.case, one.reason, one.reason)
        return [
            case
            for case in sorted(waiting, key=lambda case: case.id)
            if count[case.id] == 1 and not self._failed(case)
        ]

    def fail(self, name: str, reason: str, state: str) -> None:
        """Write down why a case was not predicted; say it once."""
        failure = Failure(reason=concealed(reason), state=_digest(state))
        if self.failures.get(name) != failure:
            logger.warning("set aside: %s", failure.reason)
            self.failures[name] = failure
            self._write()

    def set_aside(self) -> list[SetAside]:
        """List what could not be predicted and has not changed since."""
        return [
            SetAside(case=name, stage=STAGE, reason=failure.reason)
            for name, failure in sorted(self.failures.items())
        ]

    def done(self, name: str) -> None:
        """Forget an earlier failure of a case."""
        if self.failures.pop(name, None) is not None:
            self._write()

    def state(self, case: Case) -> str:
        """Return the state of a case's files as text."""
        return repr([signature(file.path) for file in case.image])

    def _failed(self, case: Case) -> bool:
        failure = self.failures.get(case.id)
        return failure is not None and failure.state == _digest(self.state(case))

    def _settled(self, path: Path, before: Mapping[Path, Signature]) -> bool:
        """Tell whether a file or folder looks as it did at the last look; remember its look."""
        now = signature(path)
        self.seen[path] = now
        return bool(now) and before.get(path) == now

    def _list(self, folder: Path) -> tuple[list[Case], list[SetAside]]:
        """List a folder's series; headers are read once per state of the folder."""
        now = self.seen[folder]
        known = self.series.get(folder)
        if known is None or known[0] != now:
            known = (now, *series_cases(folder, self.source, self.identifiers))
            self.series[folder] = known
        return known[1], known[2]

    def _own(self, path: Path) -> bool:
        """Tell whether a folder is OUT, or in it."""
        return path.resolve().is_relative_to(self.out.resolve())

    def _write(self) -> None:
        write_json(self.out / FAILURES, {n: asdict(f) for n, f in sorted(self.failures.items())})


def _digest(state: str) -> str:
    return hashlib.blake2b(state.encode(), digest_size=16).hexdigest()


def signature(path: Path) -> Signature:
    """Describe a file, or the files of a folder, without reading them; () where nothing is."""
    rows = []
    with suppress(FileNotFoundError):  # moved on between the listing and here: the next look sees
        files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        for file in files:
            stat = file.stat()
            rows.append((file.name, stat.st_size, stat.st_mtime_ns))
    return tuple(rows)


def watch(
    folder: Model,
    predictor: Predictor | Mixture,
    source: Path,
    out: Path,
    *,
    every_s: float,
    bar: Progress,
    dicom: Wanted | None = None,
    maps: Sequence[MapName] = (),
    pages: Pages | None = None,
    identifiers: Identifiers = "drop",
    names: Path | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> NoReturn:
    """Predict what arrives until the user stops it (KeyboardInterrupt comes through).

    Parameters
    ----------
    folder : ModelFolder or EnsembleFolder
    predictor : Predictor or Mixture
        The folder's, loaded.
    source : Path
        Folder: its files, and DICOM series in folders below it.
    out : Path
        Folder for predictions and `FAILURES`; not ``source``.
    every_s : float
        Seconds between looks; what arrives is predicted after one to two of them.
    bar : Progress
        Moves by one per case.
    dicom : Wanted, optional
        DICOM objects to write beside each prediction; what is no DICOM series fails.
    maps : sequence of str
        Maps to write; see `medseg.pipelines.predict_case.predict_cases`.
    pages : Pages, optional
        Write a page for each case, and keep their list up to date.
    identifiers, names
        As for `medseg.pipelines.predict.predict`.
    sleep : callable
        Waits that long; tests put their own here.

    Raises
    ------
    ConfigError
        If ``source`` is no folder, or is ``out``, or ``out`` holds what another model predicted.
    """
    from medseg.postprocess.export import prediction_name

    if not source.is_dir():
        raise ConfigError(f"{source}: --watch needs one folder that exists")
    if source.resolve() == out.resolve():
        raise ConfigError(f"{out}: is the folder that is watched; choose another with -o")
    document, maker = folder.document, maker_of(folder)
    ndim = len(document.tiles.patch_size)
    there = sorted(out.glob(prediction_name("*", ndim)))
    made = makers(out, there)
    check_makers(out, made, maker, KEPT)
    tell_of_unknown(out, there, made)
    out.mkdir(parents=True, exist_ok=True)
    watcher = Watcher(source, out, document.data.channels, ndim, identifiers)
    logger.info("watching %s every %g s; Ctrl-C ends it", source, every_s)
    while True:
        cases = watcher.look()
        tell_of_hashes(cases)
        if names and cases:
            write_names(names, cases)
        states = {case.id: watcher.state(case) for case in cases}
        targets = name_targets(cases, out, ndim)
        for outcome in predict_cases(
            cases, folder, predictor, targets, bar, dicom, maps, pages, maker
        ):
            name = outcome.item.id
            if outcome.error is None:
                watcher.done(name)
            else:
                watcher.fail(name, str(outcome.error), states[name])
            if pages:
                write_index(out, pages, watcher.set_aside())
        sleep(every_s)


def parse_every(text: str) -> float:
    """Turn ``5s``, ``2min`` or a number of seconds into seconds.

    Examples
    --------
    >>> parse_every("5s"), parse_every("0.5min"), parse_every("3")
    (5.0, 30.0, 3.0)
    """
    number, factor = text, 1.0
    for unit, seconds in (("min", 60.0), ("s", 1.0), ("h", 3600.0)):
        if text.endswith(unit):
            number, factor = text.removesuffix(unit), seconds
            break
    try:
        value = float(number) * factor
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"--every {text}: it must be a time above 0, such as 5s or 1min")
    return value
