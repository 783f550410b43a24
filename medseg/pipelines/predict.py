"""`medseg predict MODEL INPUT -o OUT`: from files to segmentations, with nothing but a model."""

from __future__ import annotations

import argparse
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.artefacts import SetAside
from medseg.case import Case
from medseg.errors import CaseError, ConfigError, FormatError
from medseg.model_folder import ModelFolder, read_model_folder
from medseg.pipelines.logs import logging_to_stderr
from medseg.pipelines.predict_inputs import STAGE, find_cases
from medseg.pipelines.progress import Display, clock

if TYPE_CHECKING:
    from medseg.inference.predictor import Predictor
    from medseg.io.load import LoadedImage
    from medseg.stages.context import Progress

logger = logging.getLogger(__name__)

DONE, SOME_SET_ASIDE = 0, 3
PARTIAL = ".partial"
"""Folder in OUT where a file is written before it is renamed into its place."""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What a call of `predict` did."""

    written: tuple[Path, ...]
    skipped: tuple[Path, ...]
    """Outputs that were there already."""
    set_aside: tuple[SetAside, ...]


def main(args: argparse.Namespace) -> int:
    """Run the command; ``args`` is what ``medseg predict`` parses.

    Returns
    -------
    int
        0, or 3 if some cases were set aside.

    Raises
    ------
    ConfigError
        If the model, the input or the device cannot be used; nothing has been written.
    """
    with logging_to_stderr(quiet=args.quiet, debug=args.debug) as display:
        result = predict(
            args.model,
            args.input,
            args.out,
            device=args.device,
            overwrite=args.overwrite,
            display=display,
        )
        logger.info(
            "%d predicted, %d there already, %d set aside; in %s",
            len(result.written),
            len(result.skipped),
            len(result.set_aside),
            args.out,
        )
        for case in result.set_aside:
            logger.warning("set aside: %s", case.reason)
    return SOME_SET_ASIDE if result.set_aside else DONE


def predict(
    model: Path,
    source: Path,
    out: Path,
    *,
    device: str = "auto",
    overwrite: bool = False,
    display: Display | None = None,
) -> Predicted:
    """Segment files with a trained model, each on its own grid.

    Parameters
    ----------
    model : Path
        A run folder or a model folder.
    source : Path
        A file, a folder of files, or a folder of DICOM series; see
        `medseg.pipelines.predict_inputs.find_cases` for names and channels.
    out : Path
        Folder for ``<case>.nii.gz`` (PNG for photographs), made where it does not exist. A file
        appears in it whole or not at all.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    overwrite : bool
        False skips what is there already, so that a stopped run goes on where it was.
    display : Display, optional
        Shows progress.

    Returns
    -------
    Predicted
        A case that cannot be read or does not suit the model is set aside with its reason.

    Raises
    ------
    ConfigError
        If the model, the input or the device cannot be used; nothing has been written.
    """
    folder = read_model_folder(model)
    document = folder.document
    if document.data.origin == "SYNTHETIC":
        logger.warning(
            "this model was trained on SYNTHETIC data (%s); it is not for real patients",
            document.data.name,
        )
    cases, aside = find_cases(source, document.data.channels, len(document.tiles.patch_size))
    targets = _targets(cases, out, len(document.tiles.patch_size))
    skipped = [] if overwrite else [path for path in targets.values() if path.is_file()]
    waiting = [case for case in cases if targets[case.id] not in skipped]
    if skipped:
        logger.info("%d of %d are there already and kept", len(skipped), len(cases))
    if not waiting:
        return Predicted(written=(), skipped=tuple(skipped), set_aside=aside)
    from medseg.inference.weights import load_predictor

    predictor = load_predictor(folder, device)
    (out / PARTIAL).mkdir(parents=True, exist_ok=True)
    written, failed = [], []
    with (display or Display(quiet=True)).open("predict", len(waiting), "case") as bar:
        for case in waiting:
            tiles = _Share(bar)
            try:
                written.append(_predict_case(case, folder, predictor, targets[case.id], tiles.step))
            except (CaseError, FormatError) as error:
                failed.append(SetAside(case=case.id, stage=STAGE, reason=str(error)))
            tiles.finish(case.id)
    with contextlib.suppress(OSError):  # another process may write there too
        (out / PARTIAL).rmdir()
    return Predicted(written=tuple(written), skipped=tuple(skipped), set_aside=(*aside, *failed))


def _predict_case(
    case: Case,
    folder: ModelFolder,
    predictor: Predictor,
    target: Path,
    advance: Callable[[float], None],
) -> Path:
    """Read, prepare, predict, clean and write one case."""
    from medseg.io.load import load_image
    from medseg.postprocess.export import write_prediction
    from medseg.postprocess.rules import apply_rules
    from medseg.preprocessing import Recipe, preprocess

    started = time.monotonic()
    image = load_image(case)
    check_suits(case, image, folder)
    ready = preprocess(image.volume, Recipe.of(folder.plan))
    grid = image.volume.grid
    indices = predictor.indices(
        ready.image,
        case=case.id,
        crop_start=ready.crop_start,
        crop_stop=ready.crop_stop,
        source=grid,
        advance=advance,
    )
    scheme = folder.document.scheme
    cleaned = apply_rules(indices, grid, scheme, folder.rules)
    aside = target.parent / PARTIAL / target.name
    write_prediction(aside, cleaned, grid, image.stored, scheme)
    aside.replace(target)
    seconds = clock(time.monotonic() - started)
    logger.info("case %s: %s voxels in %s -> %s", case.id, grid.shape, seconds, target)
    return target


def check_suits(case: Case, image: LoadedImage, folder: ModelFolder) -> None:
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


def _targets(cases: Sequence[Case], out: Path, ndim: int) -> dict[str, Path]:
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
