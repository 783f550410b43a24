"""`medseg check CONFIG`: read every case, say what is wrong with it, change nothing."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from medseg.artefacts import Dataset, IngestedCase, SetAside
from medseg.errors import ConfigError
from medseg.pipelines.build import load_experiment
from medseg.pipelines.context import RunContext
from medseg.pipelines.logs import logging_to_stderr
from medseg.pipelines.progress import Display
from medseg.pipelines.store import Places
from medseg.settings import Compute
from medseg.stages.ingest import Ingest
from medseg.tracking import NullTracker

DONE, SOME_SET_ASIDE = 0, 3


def main(args: argparse.Namespace) -> int:
    """Run the command; ``args`` is what ``medseg check`` parses.

    Returns
    -------
    int
        0 if every case is sound, 3 if some would be set aside.

    Raises
    ------
    ConfigError, ManifestError
        If the config, the manifest or the division into splits is wrong; what was found in the
        cases until then has been printed.
    StageError
        If no case is sound.
    """
    with logging_to_stderr(quiet=args.quiet, debug=args.debug) as display:
        experiment = load_experiment(
            args.config, args.overrides, data_root=args.data_root, runs_dir=args.runs_dir
        )
        stage = next((s for _, s in experiment.stages if isinstance(s, Ingest)), None)
        if stage is None:
            raise ConfigError(f"{experiment.source}: its pipeline has no stage 'ingest' to check")
        found = check(stage, experiment.compute, display)
    return SOME_SET_ASIDE if found else DONE


def check(
    stage: Ingest, compute: Compute | None = None, display: Display | None = None
) -> tuple[SetAside, ...]:
    """Run ingest in a folder that is thrown away, and print what it found.

    Parameters
    ----------
    stage : Ingest
        With its manifest.
    compute : Compute, optional
        How many workers; a scheduler is not used, since its workers may not see the folder.
    display : Display, optional
        Shows progress.

    Returns
    -------
    tuple of SetAside
        The cases that a run would set aside.
    """
    with tempfile.TemporaryDirectory(prefix="medseg-check-") as folder:
        root = Path(folder).resolve()
        context = RunContext(
            "ingest",
            root / "work",
            places=Places(run=root, scratch=root / "scratch"),
            device="cpu",
            compute=replace(compute or Compute(), scheduler=None),
            tracker=NullTracker(),
            display=display or Display(quiet=True),
        )
        context.workdir.mkdir()
        try:
            with _unlogged("medseg.stages.ingest", "medseg.pipelines.context"):
                dataset = stage.run(context=context)
        except Exception:
            _say(_lines_aside(context.listed))
            raise
        _say(report_lines(dataset, context.listed))
        return tuple(context.listed)


def report_lines(dataset: Dataset, set_aside: Sequence[SetAside]) -> list[str]:
    """Return a line per case with its warnings, the cases set aside, and the sums.

    Parameters
    ----------
    dataset : Dataset
        What ingest returned.
    set_aside : sequence of SetAside
        What it could not use.
    """
    width = max(len(row.case.id) for row in dataset.cases)
    lines = [_line(row, width) for row in dataset.cases]
    for row in dataset.cases:
        lines += [f"warning: case {row.case.id}: {warning}" for warning in row.warnings]
    lines += _lines_aside(set_aside)
    places = Counter(row.split if row.fold is None else f"fold {row.fold}" for row in dataset.cases)
    warned = sum(bool(row.warnings) for row in dataset.cases)
    lines += [
        f"{dataset.info.title} ({dataset.info.origin}): {len(dataset.cases)} sound case(s), "
        f"{warned} with warnings, {len(set_aside)} set aside",
        "splits: " + ", ".join(f"{name} {places[name]}" for name in sorted(places)),
    ]
    return lines


def _line(row: IngestedCase, width: int) -> str:
    """Describe one sound case."""
    unit = "mm" if row.grid.ndim == 3 else "px"
    shape = " x ".join(str(n) for n in row.grid.shape)
    spacing = " x ".join(f"{s:.4g}" for s in row.grid.spacing)
    where = row.split if row.fold is None else f"{row.split}/{row.fold}"
    labels = ", ".join(f"{name} {count}" for name, count in row.label_voxels.items())
    parts = [f"{row.case.id:<{width}}", f"{where:<8}", shape, f"{spacing} {unit}", row.orientation]
    return "  ".join(part for part in (*parts, labels or "no annotation") if part)


def _lines_aside(set_aside: Sequence[SetAside]) -> list[str]:
    """Describe the cases that cannot be used."""
    return [
        f"set aside: {row.reason if row.case in row.reason else f'case {row.case}: {row.reason}'}"
        for row in set_aside
    ]


def _say(lines: Sequence[str]) -> None:
    """Write lines to the terminal."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


@contextmanager
def _unlogged(*names: str) -> Iterator[None]:
    """Keep warnings out of the log: the same findings are printed in the end."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
