"""What `medseg best` is given: finished runs with out-of-fold predictions, judged case by case."""

from __future__ import annotations

import itertools
import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.artefacts import Dataset, IngestedCase, PredictedCase, Predictions
from medseg.errors import CaseError, ConfigError, FormatError
from medseg.finished import RuleScores
from medseg.metrics.confusion import Matrix, confusion_matrix, confusion_scores
from medseg.model_folder import ModelFolder, read_model_folder
from medseg.pipelines.build import SCRATCH
from medseg.pipelines.runfolder import RunFolder
from medseg.stages.context import Progress
from medseg.trained import Score

if TYPE_CHECKING:
    from medseg.inference.mixture import Probabilities
    from medseg.inference.predictor import Predictor
    from medseg.io.load import LoadedImage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """One run, as far as choosing needs it."""

    name: str
    model: ModelFolder
    ingested: Mapping[str, IngestedCase]
    out_of_fold: Mapping[str, PredictedCase]
    """Annotated training cases that a network predicted which had not seen them."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One run, or several together, and how well it does on the out-of-fold cases."""

    runs: tuple[FinishedRun, ...]
    dice: dict[str, dict[str, float]] = field(default_factory=dict)
    """Case to Dice per structure, before any post-processing; 1 where it is rightly empty."""
    pixels: dict[str, Matrix] = field(default_factory=dict)
    """Case to its confusion matrix; where mIoU decides."""
    scores: dict[str, RuleScores] = field(default_factory=dict)
    """Case to what post-processing would make of it; of ensembles alone."""

    @property
    def name(self) -> str:
        """The runs' names."""
        return " + ".join(run.name for run in self.runs)

    def case_values(self, score: Score) -> dict[str, float]:
        """Return each case's mean Dice over its structures, or its own mIoU."""
        if score == "dice":
            return {name: statistics.fmean(row.values()) for name, row in self.dice.items() if row}
        found = {name: confusion_scores(matrix).miou for name, matrix in self.pixels.items()}
        return {name: miou for name, miou in found.items() if not math.isnan(miou)}

    def miou_of_set(self) -> float:
        """Return the mIoU over the pixels of all cases."""
        return confusion_scores(np.sum(list(self.pixels.values()), axis=0)).miou


def read_run(path: Path) -> FinishedRun:
    """Read a finished run.

    Raises
    ------
    ConfigError
        If it is no run folder, is not finished, or has no out-of-fold prediction.
    """
    model = read_model_folder(path)
    folder = RunFolder(path.resolve().parent, path.resolve().name, SCRATCH)
    stages = folder.record().get("stages", {})
    kinds: dict[str, Any] = {"ingest": Dataset, "infer": Predictions}
    found: dict[str, Any] = {}
    for name, kind in kinds.items():
        place = folder.stage(name, str(stages.get(name, {}).get("key")))
        if not place.is_done():
            raise ConfigError(
                f"{path}: no finished stage '{name}'; give run folders whose run is done"
            )
        found[name] = folder.places.within(place.final).load(place.text(), kind)
    ingested = {one.case.id: one for one in found["ingest"].cases}
    return FinishedRun(
        name=path.resolve().name,
        model=model,
        ingested=ingested,
        out_of_fold={
            pred.id: pred
            for pred in found["infer"].cases
            if pred.split == "train" and ingested[pred.id].case.label
        },
    )


def shared_cases(runs: Sequence[FinishedRun]) -> tuple[str, ...]:
    """Return the out-of-fold cases that all runs have.

    Raises
    ------
    ConfigError
        If there is none, or a case is another image in another run.
    """
    first, *others = runs
    shared = [name for name in first.out_of_fold if all(name in run.out_of_fold for run in others)]
    if not shared:
        raise ConfigError(
            f"{', '.join(run.name for run in runs)}: no case was predicted out of fold in all of "
            "them; train the same folds in each (train.folds=all)"
        )
    for name, run in itertools.product(shared, others):
        if run.ingested[name].digest != first.ingested[name].digest:
            raise ConfigError(
                f"case {name} of {run.name} is not the case {name} of {first.name}: image or "
                "annotation differ; compare runs over the same data"
            )
    for run in runs:
        if len(run.out_of_fold) > len(shared):
            logger.warning(
                "%s: %d of %d out-of-fold cases are not in every run and do not count",
                run.name, len(run.out_of_fold) - len(shared), len(run.out_of_fold),
            )  # fmt: skip
    return tuple(shared)


def choose_score(
    asked: Literal["auto", "dice", "miou"], runs: Sequence[FinishedRun], cases: Sequence[str]
) -> Score:
    """Return what decides; auto: mIoU where it chose the networks of all runs, else Dice.

    Raises
    ------
    ConfigError
        If mIoU is asked for and regions overlap, or a case is annotated in part.
    """
    if asked == "auto":
        asked = "miou" if all(run.model.score == "miou" for run in runs) else "dice"
    if asked == "dice":
        return "dice"
    partly = [name for name in cases if runs[0].ingested[name].case.annotated is not None]
    if runs[0].model.document.scheme.regions or partly:
        why = f"case {partly[0]} is annotated in part" if partly else "their regions overlap"
        raise ConfigError(f"best: --score miou is not defined for these runs: {why}; choose dice")
    return "miou"


def judge(
    runs: Sequence[FinishedRun],
    cases: Sequence[str],
    *,
    pairs: bool,
    device: str,
    bar: Progress,
    score: Score = "dice",
) -> tuple[Candidate, ...]:
    """Score every run, and every pair of runs, on the out-of-fold cases.

    A run's predictions are those it left. For a pair each case is predicted once more by the two
    networks that did not see it, and their probabilities are averaged.

    Parameters
    ----------
    runs : sequence of FinishedRun
    cases : sequence of str
        What `shared_cases` returned.
    pairs : bool
    device : str
    bar : Progress
        Moves by one per case.
    score : {"dice", "miou"}
        ``miou`` also counts the pixels.
    """
    singles = [Candidate(runs=(run,)) for run in runs]
    couples = [Candidate(runs=both) for both in itertools.combinations(runs, 2)] if pairs else []
    loaded = _Loaded(device)
    for name in sorted(cases, key=lambda n: [run.out_of_fold[n].fold or 0 for run in runs]):
        try:
            _judge_case(name, singles, couples, loaded, score)
        except (CaseError, FormatError) as error:
            logger.warning("case %s does not count: %s", name, error)
            for one in (*singles, *couples):
                for known in (one.dice, one.pixels, one.scores):
                    known.pop(name, None)
        bar.advance(note=name)
    return (*singles, *couples)


def _judge_case(
    name: str,
    singles: Sequence[Candidate],
    couples: Sequence[Candidate],
    loaded: _Loaded,
    score: Score,
) -> None:
    """Score one case with every candidate."""
    from medseg.inference.mixture import mean_indices
    from medseg.io.load import load_image, load_label
    from medseg.io.store import open_array
    from medseg.postprocess.candidates import case_scores, dice_of_all

    runs = [one.runs[0] for one in singles]
    case, scheme = runs[0].ingested[name].case, runs[0].model.document.scheme
    image = load_image(case)
    label = load_label(case, scheme, image)
    covered = None
    if case.annotated is not None:
        covered = tuple(scheme.index_of(one) for one in case.annotated)

    def note(one: Candidate, pred: NDArray[np.int16]) -> None:
        one.dice[name] = dice_of_all(pred, label, scheme, covered)
        if score == "miou":
            one.pixels[name] = confusion_matrix(pred, label, len(scheme.labels) + 1)

    for one in singles:
        note(one, open_array(one.runs[0].out_of_fold[name].pred).read_all())
    if not couples:
        return
    probs = {run.name: loaded.probabilities(run, name, image) for run in runs}
    for pair in couples:
        pred = mean_indices([probs[run.name] for run in pair.runs], scheme)
        note(pair, pred)
        voxel_ml = image.volume.grid.voxel_volume_ml
        pair.scores[name] = case_scores(pred, label, scheme, voxel_ml, covered)


class _Loaded:
    """Of each run the network of one fold, kept as long as cases of that fold come."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.known: dict[str, tuple[int, Predictor]] = {}

    def probabilities(self, run: FinishedRun, name: str, image: LoadedImage) -> Probabilities:
        """Predict a case with the network of a run that did not see it."""
        from medseg.inference.mixture import class_probabilities
        from medseg.inference.weights import load_predictor
        from medseg.preprocessing import preprocess

        fold = run.out_of_fold[name].fold
        assert fold is not None  # out-of-fold cases have one
        if self.known.get(run.name, (None,))[0] != fold:
            self.known[run.name] = fold, load_predictor(run.model.with_folds([fold]), self.device)
        return class_probabilities(
            self.known[run.name][1],
            preprocess(image.volume, run.model.recipe),
            case=name,
            source=image.volume.grid,
        )
