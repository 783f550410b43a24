"""Many cases through the steps of a prediction, each step at work on another case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.case import Case
from medseg.ensemble_folder import Model
from medseg.errors import ConfigError
from medseg.pipelines.overlap import Outcome, overlapped
from medseg.pipelines.predict_quality import calibrations_of
from medseg.pipelines.predict_record import Maker, maker_of
from medseg.pipelines.predict_report import Pages
from medseg.pipelines.predict_steps import PARTIAL, compute_step, read_step, write_step

if TYPE_CHECKING:
    from medseg.dicom_out import Wanted
    from medseg.inference.maps import MapName
    from medseg.inference.mixture import Mixture
    from medseg.inference.predictor import Predictor
    from medseg.stages.context import Progress


def predict_cases(
    cases: Sequence[Case],
    folder: Model,
    predictor: Predictor | Mixture,
    targets: Mapping[str, Path],
    bar: Progress,
    dicom: Wanted | None = None,
    maps: Sequence[MapName] = (),
    pages: Pages | None = None,
    maker: Maker | None = None,
) -> Iterator[Outcome[Case, Path]]:
    """Predict cases one after another, reading and writing while the network works.

    Parameters
    ----------
    cases : sequence of Case
    folder : ModelFolder or EnsembleFolder
    predictor : Predictor or Mixture
        The folder's, loaded.
    targets : mapping of str to Path
        Where each case's prediction goes; it appears there whole.
    bar : Progress
        Moves by one per case.
    dicom : Wanted, optional
        DICOM objects to write beside each prediction; cases must be DICOM series.
    maps : sequence of str
        Probability and uncertainty maps to write into ``maps`` beside the predictions; see
        `medseg.inference.maps.MapName`. Not of an ensemble of different plans.
    pages : Pages, optional
        Write a page for each case.
    maker : Maker, optional
        How the model stands in the record of OUT; found out where not given.

    Yields
    ------
    Outcome
        In the order of the cases; those that cannot be predicted with their error.
    """
    shares = {case.id: _Share(bar) for case in cases}
    calibrations, made_by = calibrations_of(folder), maker or maker_of(folder)
    asides = {path.parent / PARTIAL for path in targets.values()}
    for aside in asides:
        aside.mkdir(parents=True, exist_ok=True)
    try:
        with closing(
            overlapped(
                cases,
                lambda case: read_step(case, folder, dicom, keep=pages is not None),
                lambda case, ready: compute_step(
                    case, ready, predictor, shares[case.id].step, maps, judged=bool(calibrations)
                ),
                lambda case, done: write_step(
                    case, done, folder, targets[case.id], dicom, pages, calibrations, made_by
                ),
            )
        ) as outcomes:
            for outcome in outcomes:
                shares[outcome.item.id].finish(outcome.item.id)
                yield outcome
    finally:
        for aside in asides:
            with suppress(OSError):  # another process may write there too
                aside.rmdir()


def name_targets(cases: Sequence[Case], out: Path, ndim: int) -> dict[str, Path]:
    """Name each case's output; refuse to write over an input."""
    from medseg.postprocess.export import prediction_name

    targets = {case.id: out / prediction_name(case.id, ndim) for case in cases}
    inputs = {file.path.resolve() for case in cases for file in case.image}
    for path in targets.values():
        if path.resolve() in inputs:
            raise ConfigError(f"{path}: is an input; choose another folder with -o")
    return targets


class _Share:
    """One case's share of the bar, which moves with its tiles."""

    def __init__(self, bar: Progress) -> None:
        self.bar, self.done = bar, 0.0

    def step(self, share: float) -> None:
        """Move on by a share of the tiles."""
        self.done += share
        self.bar.advance(share)

    def finish(self, case: str) -> None:
        """Move to the end of the share, also where the case failed before its last tile."""
        self.bar.advance(1 - self.done, note=case)
