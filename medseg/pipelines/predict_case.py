"""The steps of one prediction, and many cases through them: read, network, clean and write."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.case import Case
from medseg.ensemble_folder import Model
from medseg.errors import CaseError, ConfigError
from medseg.expected import Calibration, Clues
from medseg.pipelines.overlap import Outcome, overlapped
from medseg.pipelines.predict_dicom import (
    Segmented,
    put_in_place,
    read_segmented,
    write_objects,
)
from medseg.pipelines.predict_quality import calibrations_of, expect
from medseg.pipelines.predict_report import Pages, page_of, put_page

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medseg.dicom_out import Wanted
    from medseg.geometry.volume import Grid
    from medseg.inference.maps import MapName
    from medseg.inference.mixture import Mixture
    from medseg.inference.predictor import Predictor
    from medseg.io.load import LoadedImage
    from medseg.preprocessing import Preprocessed
    from medseg.stages.context import Progress

logger = logging.getLogger(__name__)

MAPS = "maps"
"""Folder in OUT for probability and uncertainty maps."""
PARTIAL = ".partial"
"""Folder in OUT where a file is written before it is renamed into its place."""


def predict_cases(
    cases: Sequence[Case],
    folder: Model,
    predictor: Predictor | Mixture,
    targets: Mapping[str, Path],
    bar: Progress,
    dicom: Wanted | None = None,
    maps: Sequence[MapName] = (),
    pages: Pages | None = None,
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

    Yields
    ------
    Outcome
        In the order of the cases; those that cannot be predicted with their error.
    """
    shares = {case.id: _Share(bar) for case in cases}
    calibrations = calibrations_of(folder)
    asides = {path.parent / PARTIAL for path in targets.values()}
    for aside in asides:
        aside.mkdir(parents=True, exist_ok=True)
    try:
        with closing(
            overlapped(
                cases,
                lambda case: _read(case, folder, dicom, keep=pages is not None),
                lambda case, ready: _compute(
                    case, ready, predictor, shares[case.id].step, maps, judged=bool(calibrations)
                ),
                lambda case, done: _write(
                    case, done, folder, targets[case.id], dicom, pages, calibrations
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


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A case as the network takes it."""

    ready: tuple[Preprocessed, ...]
    """One for each plan of the model."""
    canonical: Grid
    stored: Grid
    seconds: float
    segmented: Segmented | None
    image: LoadedImage | None
    """Kept where there is to be a page."""


@dataclass(frozen=True, kw_only=True)
class _Computed:
    """A case as the network left it."""

    indices: NDArray[np.int16]
    canonical: Grid
    stored: Grid
    read_s: float
    network_s: float
    segmented: Segmented | None
    image: LoadedImage | None
    maps: Mapping[MapName, NDArray[np.uint8]]
    clues: Clues


def _read(case: Case, folder: Model, dicom: Wanted | None, *, keep: bool) -> _Read:
    """Read a case and make it network input."""
    from medseg.io.load import load_image
    from medseg.preprocessing import preprocess

    started = time.monotonic()
    image = load_image(case)
    check_suits(case, image, folder)
    segmented = read_segmented(case, image) if dicom else None
    ready = tuple(preprocess(image.volume, recipe) for recipe in folder.recipes)
    return _Read(
        ready=ready,
        canonical=image.volume.grid,
        stored=image.stored,
        seconds=time.monotonic() - started,
        segmented=segmented,
        image=image if keep else None,
    )


def _compute(
    case: Case,
    work: _Read,
    predictor: Predictor | Mixture,
    advance: Callable[[float], None],
    maps: Sequence[MapName],
    *,
    judged: bool,
) -> _Computed:
    """Run the network over a case; ``judged``: count what tells of the result's quality."""
    from medseg.inference.cascade import network_input
    from medseg.inference.clues import ClueCounter
    from medseg.inference.mixture import Mixture

    started = time.monotonic()
    found: Mapping[MapName, NDArray[np.uint8]] = {}
    clues: ClueCounter | None = None
    if isinstance(predictor, Mixture):
        indices = predictor.indices(
            work.ready, case=case.id, source=work.canonical, advance=advance
        )
    else:
        (ready,) = work.ready
        clues = ClueCounter(predictor.scheme) if judged else None
        result = predictor.predict(
            network_input(predictor, ready, case=case.id, source=work.canonical),
            case=case.id,
            crop_start=ready.crop_start,
            crop_stop=ready.crop_stop,
            source=work.canonical,
            maps=maps,
            clues=clues,
            advance=advance,
        )
        indices, found = result.indices, result.maps
    return _Computed(
        indices=indices,
        canonical=work.canonical,
        stored=work.stored,
        read_s=work.seconds,
        network_s=time.monotonic() - started,
        segmented=work.segmented,
        image=work.image,
        maps=found,
        clues=clues.found() if clues else {},
    )


def _write(
    case: Case,
    work: _Computed,
    folder: Model,
    target: Path,
    dicom: Wanted | None,
    pages: Pages | None,
    calibrations: Sequence[Calibration],
) -> Path:
    """Clean a case's prediction and write it, whole or not at all."""
    from medseg.postprocess.export import write_prediction
    from medseg.postprocess.map_files import map_name, write_map
    from medseg.postprocess.rules import apply_rules

    started = time.monotonic()
    scheme = folder.document.scheme
    cleaned = apply_rules(work.indices, work.canonical, scheme, folder.rules)
    aside = target.parent / PARTIAL / target.name
    objects: tuple[Path, ...] = ()
    expected = expect(case.id, work.clues, cleaned, scheme, calibrations)
    with page_of(case.id, work.image, cleaned, pages, aside.parent, expected) as page:
        if dicom and work.segmented:  # first: what cannot be made leaves nothing behind
            pdf = page.pdf if page else None
            objects = write_objects(case, work.segmented, cleaned, folder, dicom, aside.parent, pdf)
        write_prediction(aside, cleaned, work.canonical, work.stored, scheme)
        for name, values in work.maps.items():
            file = map_name(case.id, name, work.stored.ndim)
            shown = write_map(aside.parent / file, values, work.canonical, work.stored)
            (target.parent / MAPS).mkdir(exist_ok=True)
            shown.replace(target.parent / MAPS / file)
        if dicom:
            put_in_place(objects, case.id, target.parent, dicom)
        if page:
            put_page(page, target.parent)
    aside.replace(target)  # last: a case is done when its prediction is there
    logger.info(
        "case %s: %s voxels; read %.1f s, network %.1f s, write %.1f s -> %s",
        case.id,
        work.canonical.shape,
        work.read_s,
        work.network_s,
        time.monotonic() - started,
        target,
    )
    return target


def check_suits(case: Case, image: LoadedImage, folder: Model) -> None:
    """Raise CaseError for an image that the model cannot take."""
    import numpy as np

    data, document = image.volume.data, folder.document
    ndim, channels = len(document.tiles.patch_size), document.data.channels
    place = str(case.image[0].path)
    if data.ndim - 1 != ndim:
        raise CaseError(
            case.id,
            f"{place}: a {'photograph' if data.ndim == 3 else 'volume'} of shape {data.shape[1:]}",
            f"the model was trained on {'photographs' if ndim == 2 else 'volumes'} "
            f"({document.data.name}); predict it with another model",
        )
    if len(data) != len(channels):
        raise CaseError(
            case.id,
            f"{place}: {len(data)} channel(s), the model needs {len(channels)}: "
            f"{', '.join(channels)}",
            "give one file with all channels, or a folder with <case>_<channel>.nii.gz for each",
        )
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise CaseError(
            case.id,
            f"{place}: {int((~np.isfinite(data)).sum())} voxels are NaN or infinite",
            "export the image again, or replace them by the value of air",
        )


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
