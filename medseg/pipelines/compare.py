"""`medseg compare RUN RUN [...]`: paired statistics between runs over the same cases."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import ConfigError
from medseg.pipelines.compare_runs import find_sources
from medseg.pipelines.logs import logging_to_stderr
from medseg.pipelines.store import put_folder

if TYPE_CHECKING:
    from medseg.reporting.comparison import Comparison
    from medseg.tracking.store import Store

logger = logging.getLogger(__name__)

DONE, SHOWN = 0, 10
OWN_FILES = frozenset({"comparison.html", "comparison.csv", "comparison.json"})
EXPERIMENT = "comparison"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``medseg compare``."""
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="a run folder, a folder with a metrics.csv, or an MLflow run id; the others are "
        "compared with the first",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="OUT",
        type=Path,
        default=Path("comparison"),
        help="folder for the report (default: ./comparison)",
    )
    parser.add_argument("--split", metavar="NAME", help="default: test, else validation")
    parser.add_argument("--uri", help="MLflow store ($MLFLOW_TRACKING_URI, runs-dir/mlflow.db)")
    parser.add_argument(
        "--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="default: ./runs"
    )
    parser.add_argument(
        "--no-tracking", action="store_true", help="log no comparison run to MLflow"
    )
    parser.add_argument("--quiet", action="store_true", help="warnings only")


def main(args: argparse.Namespace) -> int:
    """Run the command; ``args`` is what ``medseg compare`` parses.

    Raises
    ------
    ConfigError
        If there are fewer than two runs, one cannot be read, they share no case, or OUT cannot be
        used; nothing has been written.
    """
    from medseg.reporting.comparison_words import verdict
    from medseg.tracking.store import locate_store

    store = locate_store(args.uri, args.runs_dir)
    with logging_to_stderr(quiet=args.quiet, debug=args.debug):
        comparison = compare(args.runs, args.out, store=store, split=args.split)
        _warn(comparison)
        if not args.no_tracking:
            log_comparison(comparison, args.out, store)
        logger.info("report in %s", args.out / "comparison.html")
    if comparison.set_miou:
        found = ", ".join(f"{run} {miou:.4f}" for run, miou in comparison.set_miou.items())
        sys.stdout.write(f"mIoU over all pixels of the {comparison.split} pictures: {found}\n")
    for row in comparison.rows:
        where = f"{row.second} against {row.first}: " if len(comparison.runs) > 2 else ""
        sys.stdout.write(f"{where}{row.label}, {row.metric}: {verdict(row)}\n")
    if len(comparison.runs) > 2:
        ranks = ", ".join(f"{run} {rank:.2f}" for run, rank in comparison.ranks.items())
        sys.stdout.write(f"mean rank: {ranks}\n")
    return DONE


def compare(
    runs: Sequence[str], out: Path, *, store: Store, split: str | None = None
) -> Comparison:
    """Compare runs and write page, table and JSON.

    Parameters
    ----------
    runs : sequence of str
        Run folders, folders with a metrics.csv, or MLflow run ids; two or more.
    out : Path
        Becomes a folder with ``comparison.html``, ``.csv`` and ``.json``, whole or not at all. An
        earlier comparison there is replaced.
    store : Store
        Where run ids are looked up.
    split : str, optional
        None: test where every run has it, else validation.

    Raises
    ------
    ConfigError
        As `main`.
    """
    if len(runs) < 2:
        raise ConfigError(f"compare: {len(runs)} run given ({', '.join(runs)}); give two or more")
    _check_out(out)
    from medseg.reporting.comparison import compare_tables
    from medseg.reporting.comparison_page import write_comparison
    from medseg.reporting.score_table import choose_split, read_score_table

    place = out.resolve()
    work = place.with_name(f".{place.name}.partial-{os.getpid()}")
    work.mkdir(parents=True)
    try:
        sources = find_sources(runs, store, work / "fetched")
        tables = [read_score_table(source.metrics, source.name) for source in sources]
        comparison = compare_tables(tables, choose_split(tables, split))
        (work / "report").mkdir()
        write_comparison(work / "report", comparison, [table.data for table in tables])
        put_folder(work / "report", place)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return comparison


def log_comparison(comparison: Comparison, out: Path, store: Store) -> None:
    """Log the files and the differences as an MLflow run, if there is a store to log to.

    A local database that does not exist is not created: nothing was tracked there.
    """
    if store.database is not None and not store.database.is_file():
        logger.debug("no MLflow store at %s: the comparison is not logged", store.shown)
        return
    import math

    from medseg.tracking.mlflow_tracker import SPOOL, MlflowTracker

    tracker = MlflowTracker(store, out)
    names = {f"run_{i}": run for i, run in enumerate(comparison.runs)}
    name = " against ".join(comparison.runs)
    tags = {"kind": "comparison", "split": comparison.split}
    tracker.start(EXPERIMENT, name, {"runs": names, "split": comparison.split}, tags)
    values = {}
    for row in comparison.rows:
        i = comparison.runs.index(row.second)
        for what, value in (
            ("mean_difference", row.mean_difference),
            ("median_difference", row.paired.median_difference),
            ("p_holm", row.paired.p_holm),
        ):
            values[f"run_{i}/{what}/{row.metric}/{row.label}"] = value
    tracker.log_metrics({k: v for k, v in values.items() if math.isfinite(v)}, step=0)
    for file in sorted(OWN_FILES):
        tracker.log_artifacts(out / file, "comparison")
    tracker.finish("FINISHED")
    if not tracker.flush():  # nobody resumes a comparison, so what waits would wait for ever
        (out / SPOOL).unlink(missing_ok=True)
        logger.warning("the comparison is not logged; repeat the command when the store answers")


def _warn(comparison: Comparison) -> None:
    """Log what a reader of the numbers must know; of a long list the beginning."""
    for text in comparison.warnings:
        logger.warning("%s", text)
    for one in comparison.missing[:SHOWN]:
        logger.warning("%s: not in %s (%s)", one.case, one.run, ", ".join(one.labels))
    if comparison.missing:
        logger.warning(
            "%d missing in one run or another; they count nowhere and are listed in the report",
            len(comparison.missing),
        )


def _check_out(out: Path) -> None:
    """Refuse an output folder that holds anything but an earlier comparison."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"-o {out}: is a file; choose a folder")
    strange = (
        sorted(p.name for p in out.iterdir() if p.name not in OWN_FILES) if out.is_dir() else []
    )
    if strange:
        raise ConfigError(
            f"-o {out}: holds other files ({', '.join(strange[:3])}); choose a new folder, or that "
            "of an earlier comparison"
        )
