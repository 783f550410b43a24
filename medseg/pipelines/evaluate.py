"""`medseg evaluate PREDICTIONS REFERENCES -o OUT`: metrics and report for two folders of masks."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.artefacts import SetAside
from medseg.errors import ConfigError
from medseg.finished import ReportFiles
from medseg.identifiers import Identifiers, concealed
from medseg.pipelines.context import RunContext
from medseg.pipelines.evaluate_report import summary_lines, title_of, write_evaluation
from medseg.pipelines.label_table import (
    LabelTable,
    read_label_table,
    table_of_segments,
    table_of_values,
)
from medseg.pipelines.logs import logging_to_stderr
from medseg.pipelines.mask_pairs import STAGE, MaskPair, are_objects, find_pairs
from medseg.pipelines.progress import Display
from medseg.pipelines.shown_names import add_identifiers_argument
from medseg.pipelines.store import Places, put_folder
from medseg.settings import Compute
from medseg.tracking import NullTracker

if TYPE_CHECKING:
    from medseg.metrics.aggregate import StructureSummary

logger = logging.getLogger(__name__)

DONE, SOME_SET_ASIDE = 0, 3
SHOWN = 10
OWN_FILES = frozenset({"index.html", "cases", "metrics.csv", "summary.json", "confusion.csv"})
"""What an earlier evaluation left; only such a folder is replaced."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What a call of `evaluate` did."""

    report: ReportFiles
    summaries: tuple[StructureSummary, ...]
    set_aside: tuple[SetAside, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``medseg evaluate``."""
    for name, what in (("predictions", "masks to judge"), ("references", "masks that are right")):
        parser.add_argument(
            name, metavar=name.upper(), type=Path, help=f"{what}: a folder, or one file"
        )
    parser.add_argument(
        "-o", "--out", metavar="OUT", type=Path, required=True, help="folder for the report"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="YAML or JSON 'name: value' (default: every value found is a structure)",
    )
    add_identifiers_argument(parser)
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: all cores)")
    parser.add_argument("--quiet", action="store_true", help="warnings only")


def main(args: argparse.Namespace) -> int:
    """Run the command; ``args`` is what ``medseg evaluate`` parses.

    Returns
    -------
    int
        0, or 3 if some masks were set aside.

    Raises
    ------
    ConfigError
        If nothing pairs, or the label table or OUT cannot be used; nothing has been written.
    StageError
        If no pair can be compared.
    """
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"--workers {args.workers}: should be 1 or more")
    with logging_to_stderr(quiet=args.quiet, debug=args.debug) as display:
        done = evaluate(
            args.predictions,
            args.references,
            args.out,
            labels=args.labels,
            identifiers=args.identifiers,
            compute=Compute(workers=args.workers or "auto"),
            display=display,
        )
        if done.set_aside:
            logger.warning("%d set aside; they are listed in the report", len(done.set_aside))
        logger.info("report in %s", args.out / "index.html")
    sys.stdout.writelines(f"{line}\n" for line in summary_lines(done.summaries))
    return SOME_SET_ASIDE if done.set_aside else DONE


def evaluate(
    predictions: Path,
    references: Path,
    out: Path,
    *,
    labels: Path | None = None,
    identifiers: Identifiers = "drop",
    compute: Compute | None = None,
    display: Display | None = None,
) -> Evaluated:
    """Compare two folders of masks and write metrics and report.

    Parameters
    ----------
    predictions, references : Path
        Folders of NIfTI, NRRD, MHA, PNG, TIFF or BMP masks, also in sub-folders, or two files;
        see `medseg.pipelines.mask_pairs.find_pairs` for how they are paired.
    out : Path
        Becomes a folder with ``index.html``, ``cases/``, ``metrics.csv`` and ``summary.json``,
        whole or not at all. The report of an earlier evaluation is replaced.
    labels : Path, optional
        Label table, see `medseg.pipelines.label_table.read_label_table`; None: every value above
        0 that occurs is a structure, or every segment where both sides are DICOM objects.
    identifiers : {"drop", "hash", "keep"}
        What a case is called whose name holds what the header of a DICOM mask says of the patient;
        see `medseg.pipelines.predict.predict`.
    compute : Compute, optional
        How many worker processes.
    display : Display, optional
        Shows progress.

    Returns
    -------
    Evaluated
        Masks without partner, or that cannot be read or compared, are set aside with the reason.

    Raises
    ------
    ConfigError
        If nothing pairs, or the label table or ``out`` cannot be used; nothing has been written.
    StageError
        If no pair can be compared.
    """
    table = read_label_table(labels) if labels is not None else None
    _check_out(out, predictions, references)
    pairs, aside = find_pairs(predictions, references, identifiers)
    _warn(aside)
    out = out.resolve()
    work = out.with_name(f".{out.name}.partial-{os.getpid()}")
    work.mkdir(parents=True)
    try:
        context = _context(work, compute or Compute(), display or Display(quiet=True))
        numbered = False
        if table is None and all(are_objects(pair) for pair in pairs):
            table, pairs = _table_of_names(context, pairs)
        if table is None:
            numbered = True
            table, pairs = _find_table(context, pairs)
        items = _items(pairs, scheme=table.scheme, select=dict(table.select), numbered=numbered)
        from medseg.reporting.mask_pair import assess_pair

        assessed = context.map_cases(assess_pair, items).done
        every = (*aside, *context.listed)
        report, summaries = write_evaluation(
            work / "report", assessed, every, table, concealed(title_of(predictions, references))
        )
        put_folder(work / "report", out)
    finally:
        for trace in sorted((work / "stages" / STAGE / "errors").glob("*.txt")):
            logger.debug("case %s: %s", trace.stem, trace.read_text(encoding="utf-8"))
        shutil.rmtree(work, ignore_errors=True)
    moved = ReportFiles(
        folder=out,
        metrics=out / report.metrics.name,
        summary=out / report.summary.name,
        headline=report.headline,
    )
    return Evaluated(report=moved, summaries=summaries, set_aside=every)


def _context(work: Path, compute: Compute, display: Display) -> RunContext:
    """Return what runs cases side by side, in a folder that is thrown away."""
    return RunContext(
        STAGE,
        work / "work",
        places=Places(run=work, scratch=work / "scratch"),
        device="cpu",
        compute=compute,
        tracker=NullTracker(),
        display=display,
    )


def _table_of_names(
    context: RunContext, pairs: Sequence[MaskPair]
) -> tuple[LabelTable | None, list[MaskPair]]:
    """Make the label table from the names of segments, where they matter; leave out bad pairs."""
    from medseg.reporting.mask_pair import assess_segments

    found = context.map_cases(assess_segments, _items(pairs)).done
    table = table_of_segments(
        [segment for one in found.values() for segment in one.pred],
        [segment for one in found.values() for segment in one.reference],
    )
    if table is not None:
        logger.info("structures, by name and code: %s", ", ".join(table.select))
    return table, [pair for pair in pairs if pair.case in found]


def _find_table(
    context: RunContext, pairs: Sequence[MaskPair]
) -> tuple[LabelTable, list[MaskPair]]:
    """Make the label table from the masks, and return the pairs that could be read."""
    from medseg.reporting.mask_pair import assess_values

    found = context.map_cases(assess_values, _items(pairs)).done
    table = table_of_values(
        {value for one in found.values() for value in one.pred},
        {value for one in found.values() for value in one.reference},
    )
    logger.info(
        "structures: %s",
        ", ".join(f"{n} ({' or '.join(map(str, v))})" for n, v in table.select.items()),
    )
    return table, [pair for pair in pairs if pair.case in found]


def _items(pairs: Iterable[MaskPair], **more: Any) -> dict[str, dict[str, Any]]:
    """Return the arguments of each case's call."""
    return {
        pair.case: {
            "name": pair.case,
            "pred": pair.pred.resolve(),
            "reference": pair.reference.resolve(),
            **more,
        }
        for pair in pairs
    }


def _warn(aside: Sequence[SetAside]) -> None:
    """Log what has no partner; of a long list the beginning, the report has all."""
    for row in aside[:SHOWN]:
        logger.warning("set aside: %s", row.reason)
    if len(aside) > SHOWN:
        logger.warning("set aside: and %d more without partner", len(aside) - SHOWN)


def _check_out(out: Path, *inputs: Path) -> None:
    """Refuse an output folder that holds anything but an earlier evaluation."""
    place = out.resolve()
    for source in inputs:
        if place == source.resolve() or place in source.resolve().parents:
            raise ConfigError(f"-o {out}: holds the masks of {source}; choose another folder")
    if place.exists() and not place.is_dir():
        raise ConfigError(f"-o {out}: is a file; choose a folder")
    strange = (
        sorted(p.name for p in place.iterdir() if p.name not in OWN_FILES)
        if (place.is_dir())
        else []
    )
    if strange:
        raise ConfigError(
            f"-o {out}: holds other files ({', '.join(strange[:3])}); choose a new folder, or that "
            "of an earlier evaluation"
        )
