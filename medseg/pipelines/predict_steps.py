"""The steps of one prediction: read a case, run the network, clean the result and write it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.case import Case
from medseg.ensemble_folder import Model
from medseg.errors import CaseError
from medseg.expected import Calibration, Clues
from medseg.pipelines.predict_dicom import (
    Segmented,
    put_in_place,
    read_segmented,
    write_objects,
)
from medseg.pipelines.predict_quality import expect
from medseg.pipelines.predict_record import Maker, put_prediction
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

logger = logging.getLogger(__name__)

MAPS = "maps"
"""Folder in OUT for probability and uncertainty maps."""
PARTIAL = ".partial"
"""Folder in OUT where a file is written before it is renamed into its place."""


@dataclass(frozen=True, kw_only=True)
class ReadCase:
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
class ComputedCase:
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


def read_step(case: Case, folder: Model, dicom: Wanted | None, *, keep: bool) -> ReadCase:
    """Read a case and make it network input."""
    from medseg.io.load import load_image
    from medseg.preprocessing import preprocess

    started = time.monotonic()
    image = load_image(case)
    check_suits(case, image, folder)
    segmented = read_segmented(case, image) if dicom else None
    ready = tuple(preprocess(image.volume, recipe) for recipe in folder.recipes)
    return ReadCase(
        ready=ready,
        canonical=image.volume.grid,
        stored=image.stored,
        seconds=time.monotonic() - started,
        segmented=segmented,
        image=image if keep else None,
    )


def compute_step(
    case: Case,
    work: ReadCase,
    predictor: Predictor | Mixture,
    advance: Callable[[float], None],
    maps: Sequence[MapName],
    *,
    judged: bool,
) -> ComputedCase:
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
    return ComputedCase(
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


def write_step(
    case: Case,
    work: ComputedCase,
    folder: Model,
    target: Path,
    dicom: Wanted | None,
    pages: Pages | None,
    calibrations: Sequence[Calibration],
    maker: Maker,
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
    put_prediction(aside, target, maker)  # last: a case is done when its prediction is there
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
