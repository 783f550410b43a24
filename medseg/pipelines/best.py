"""`medseg best RUN RUN [...] -o MODEL`: the best of several configurations, or of their pairs."""

from __future__ import annotations

import argparse
import logging
import math
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medseg.ensemble_folder import check_parts, write_ensemble_folder
from medseg.errors import ConfigError, StageError
from medseg.pipelines.best_runs import (
    Candidate,
    FinishedRun,
    choose_score,
    judge,
    read_run,
    shared_cases,
)
from medseg.pipelines.logs import logging_to_stderr
from medseg.pipelines.progress import Display
from medseg.pipelines.store import put_folder, write_json
from medseg.trained import SCORE_TITLES, Score

if TYPE_CHECKING:
    from medseg.metrics.paired import PairedComparison

logger = logging.getLogger(__name__)

DONE = 0
CHOICE = "best.json"
LEVEL = 0.05
KEYS = {"dice": "mean_dice", "miou": "miou"}
"""Names of the scores in ``best.json``."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen, and how it compares."""

    best: Candidate
    means: Mapping[str, float]
    """Candidate to its score, best first: the mean Dice over patients and structures, or the mIoU
    over all pixels of the set."""
    against: Mapping[str, PairedComparison]
    """Every other candidate to the comparison with the best (best minus other), case by case: of
    photographs each one's own mIoU."""
    score: Score = "dice"

    def beyond_chance(self, other: str) -> bool:
        """Tell whether the best beats another beyond chance (Wilcoxon, Holm-corrected)."""
        return self.against[other].p_holm < LEVEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``medseg best``."""
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", type=Path, help="finished run folders over the same cases"
    )
    parser.add_argument(
        "-o", "--out", metavar="MODEL", type=Path, required=True, help="a new model folder"
    )
    parser.add_argument(
        "--no-ensembles", action="store_true", help="compare the runs alone; predicts nothing"
    )
    parser.add_argument(
        "--score", choices=("auto", "dice", "miou"), default="auto",
        help="what decides: mean Dice, or mIoU over all pixels; auto: what chose the networks",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]")
    parser.add_argument("--quiet", action="store_true", help="warnings only")


def main(args: argparse.Namespace) -> int:
    """Run the command; ``args`` is what ``medseg best`` parses.

    Raises
    ------
    ConfigError
        If there are fewer than two runs, one is not finished, they share no out-of-fold case, or
        MODEL is there already; nothing has been written.
    """
    with logging_to_stderr(quiet=args.quiet, debug=args.debug) as display:
        choice = choose(
            args.runs, args.out, ensembles=not args.no_ensembles, device=args.device,
            display=display, score=args.score,
        )  # fmt: skip
    for line in told(choice):
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"model in {args.out}\n")
    return DONE


def choose(
    paths: Sequence[Path],
    out: Path,
    *,
    ensembles: bool = True,
    device: str = "auto",
    display: Display | None = None,
    score: Literal["auto", "dice", "miou"] = "auto",
) -> Choice:
    """Compare runs and their pairs on out-of-fold cases and write the best as a model.

    Every case is judged by networks that had not seen it, before post-processing: by the mean Dice
    over the structures of a case, the scans of a patient, the patients; or by the mIoU over all
    pixels, where that chose the networks (photographs).

    Parameters
    ----------
    paths : sequence of Path
        Run folders, two or more.
    out : Path
        New folder: the run's model folder, or an ensemble (`medseg.ensemble_folder`) with
        post-processing learned on its own out-of-fold predictions. ``best.json`` says why.
    ensembles : bool
        Also judge the mean of each two runs, which predicts every case again.
    device : str
    display : Display, optional
    score : {"auto", "dice", "miou"}
        What decides; auto: what chose the networks of all runs.

    Raises
    ------
    ConfigError
        See `main`.
    """
    if len(paths) < 2:
        raise ConfigError(f"best: {len(paths)} run given; give two or more")
    if out.exists():
        raise ConfigError(f"-o {out}: is there already; choose a new folder")
    runs = [read_run(path) for path in paths]
    _check_names(runs)
    check_parts([run.model for run in runs])
    cases = shared_cases(runs)
    decides = choose_score(score, runs, cases)
    with (display or Display(quiet=True)).open("best", len(cases), "case") as bar:
        candidates = judge(runs, cases, pairs=ensembles, device=device, bar=bar, score=decides)
    if not candidates[0].dice:
        raise StageError(f"best: none of the {len(cases)} cases could be judged; see the warnings")
    choice = compare(candidates, decides)
    _write(choice, out)
    return choice


def compare(candidates: Sequence[Candidate], score: Score = "dice") -> Choice:
    """Find the candidate with the best score and hold it against all others.

    Of equal ones the first is taken, so a single run rather than an ensemble.
    """
    from medseg.metrics.paired import compare_together

    known = candidates[0].runs[0].ingested
    groups = {case: known[case].case.group or case for case in candidates[0].dice}
    tables = {one.name: one.case_values(score) for one in candidates}
    if score == "miou":
        means = {one.name: one.miou_of_set() for one in candidates}
    else:
        means = {name: _mean_over_patients(table, groups) for name, table in tables.items()}
    best = max(candidates, key=lambda one: means[one.name])
    against = compare_together(
        {name: (table, tables[best.name]) for name, table in tables.items() if name != best.name},
        groups=groups,
    )
    ranked = dict(sorted(means.items(), key=lambda one: -one[1]))
    return Choice(best=best, means=ranked, against=against, score=score)


def told(choice: Choice) -> list[str]:
    """Say in lines how the candidates compare."""
    name, top = choice.best.name, choice.means[choice.best.name]
    what, cases = SCORE_TITLES[choice.score], len(choice.best.dice)
    note = " (p: of each picture's own mIoU)" if choice.score == "miou" else ""
    lines = [f"best: {name}, {what} {top:.4f} on {cases} out-of-fold cases{note}"]
    for other, mean in choice.means.items():
        if other != name:
            p = choice.against[other].p_holm
            verdict = "beyond chance" if choice.beyond_chance(other) else "may be chance"
            lines.append(f"  {other}: {mean:.4f}, {top - mean:.4f} less: {verdict} (p {p:.2g})")
    return lines


def _mean_over_patients(table: Mapping[str, float], groups: Mapping[str, str]) -> float:
    """Average over the scans of a patient, then over patients."""
    patients: dict[str, list[float]] = {}
    for case, value in table.items():
        patients.setdefault(groups[case], []).append(value)
    found = [statistics.fmean(values) for values in patients.values()]
    return statistics.fmean(found) if found else math.nan


def _check_names(runs: Sequence[FinishedRun]) -> None:
    """Refuse runs of one name: they name the parts of an ensemble."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"best: two of the run folders {', '.join(names)} are called alike; rename one"
        )


def _write(choice: Choice, out: Path) -> None:
    """Write the model aside, then rename it."""
    from medseg.postprocess.learn import choose_rules

    aside = out.with_name(f".{out.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    runs, best = choice.best.runs, choice.best
    if len(runs) == 1:
        shutil.copytree(runs[0].model.folder, aside)
    else:
        known = runs[0].ingested
        patients = [known[case].case.group or case for case in best.scores]
        rules = choose_rules(list(best.scores.values()), runs[0].model.document.scheme, patients)
        write_ensemble_folder(aside, [(run.name, run.model) for run in runs], rules)
    rows = {
        name: {
            KEYS[choice.score]: value,
            "p_holm": None if name == best.name else choice.against[name].p_holm,
            "beyond_chance": None if name == best.name else choice.beyond_chance(name),
        }
        for name, value in choice.means.items()
    }
    record = {"best": best.name, "score": choice.score, "cases": len(best.dice), "candidates": rows}
    write_json(aside / CHOICE, record)
    put_folder(aside, out)
