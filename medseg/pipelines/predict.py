"""`medseg predict MODEL INPUT -o OUT`: from files to segmentations, with nothing but a model."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from medseg.artefacts import SetAside
from medseg.ensemble_folder import EnsembleFolder, Model, open_model
from medseg.errors import ConfigError
from medseg.identifiers import Identifiers, concealed
from medseg.pipelines.arguments import read_memory
from medseg.pipelines.logs import logging_to_stderr
from medseg.pipelines.predict_case import name_targets, predict_cases
from medseg.pipelines.predict_dicom import check_series, is_done, wanted_objects
from medseg.pipelines.predict_inputs import STAGE, find_cases
from medseg.pipelines.predict_quality import calibrations_of, tell_of_calibration
from medseg.pipelines.predict_record import check_makers, maker_of, makers, tell_of_unknown
from medseg.pipelines.predict_report import Pages, has_page, open_pages, write_index
from medseg.pipelines.progress import Display
from medseg.pipelines.shown_names import check_names_file, tell_of_hashes, write_names

if TYPE_CHECKING:
    from medseg.dicom_out import Wanted
    from medseg.inference.maps import MapName
    from medseg.inference.mixture import Mixture
    from medseg.inference.predictor import Predictor

logger = logging.getLogger(__name__)

DONE, SOME_SET_ASIDE = 0, 3
KEPT = "give another folder with -o, or --overwrite to predict them anew"


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
    KeyboardInterrupt
        How ``--watch`` ends.
    """
    with logging_to_stderr(quiet=args.quiet, debug=args.debug) as display:
        if args.watch:
            _watch(args)
        result = predict(
            args.model,
            args.input,
            args.out,
            device=args.device,
            overwrite=args.overwrite,
            folds=args.folds,
            dicom=wanted_objects(args),
            maps=args.maps,
            report=args.report,
            identifiers=args.identifiers,
            names=args.names,
            memory=args.memory,
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
    source: Path | Sequence[Path],
    out: Path,
    *,
    device: str = "auto",
    overwrite: bool = False,
    folds: Sequence[int] = (),
    dicom: Wanted | None = None,
    maps: Sequence[MapName] = (),
    report: bool = False,
    identifiers: Identifiers = "drop",
    names: Path | None = None,
    memory: str = "auto",
    display: Display | None = None,
) -> Predicted:
    """Segment files with a trained model, each on its own grid.

    Parameters
    ----------
    model : Path
        A run folder, a model folder, or what ``medseg export`` made of one.
    source : Path or sequence of Path
        Files, folders of files, folders of DICOM series, lists (.txt, .csv); see
        `medseg.pipelines.predict_inputs.find_cases` for names and channels.
    out : Path
        Folder for ``<case>.nii.gz`` (PNG for photographs), made where it does not exist. A file
        appears in it whole or not at all.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    overwrite : bool
        False skips what this model made already, so that a stopped run goes on where it was.
    folds : sequence of int
        Networks of a cross-validation that predict; none given: all, together.
    dicom : Wanted, optional
        DICOM objects (SEG, SR, RTSTRUCT) to write beside each prediction of a DICOM series.
    maps : sequence of str
        ``foreground``, ``classes``, ``entropy``, ``disagreement``: written into ``OUT/maps``.
    report : bool
        Write a page for each case into ``OUT/report/cases`` and their list beside it; with DICOM
        objects also as Encapsulated PDF, where PDF can be made.
    identifiers : {"drop", "hash", "keep"}
        ``drop`` and ``hash``: a DICOM case whose name holds what the header says of the patient is
        called by a hash, the same in every call; ``keep``: by its file or folder.
    names : Path, optional
        CSV file that gets a row per case: its id, its input, its series.
    memory : str
        Memory of the device that a prediction may use, such as ``8GB``; ``auto``: a share of what
        is free.
    display : Display, optional
        Shows progress.

    Returns
    -------
    Predicted
        A case that cannot be read or does not suit the model is set aside with its reason.

    Raises
    ------
    ConfigError
        If the model, the input or the device cannot be used, or another model made outputs that
        are there; nothing has been written.
    """
    limit = read_memory(memory)
    folder = _open_model(model, folds)
    document = folder.document
    ndim = len(document.tiles.patch_size)
    if names:
        check_names_file(names, out)
    cases, aside = find_cases(source, document.data.channels, ndim, identifiers)
    aside = tuple(replace(one, reason=concealed(one.reason)) for one in aside)
    tell_of_hashes(cases)
    check_maps(maps, folder)
    if dicom:
        check_series(cases)
    pages, dicom = wanted_pages(folder, dicom, report=report)
    targets, maker = name_targets(cases, out, ndim), maker_of(folder)
    made = {} if overwrite else makers(out, targets.values())
    check_makers(out, made, maker, KEPT)
    if names:
        write_names(names, cases)
    done = {c for c, p in targets.items() if is_done(p, dicom) and has_page(p, c, pages)}
    skipped = [] if overwrite else [path for case, path in targets.items() if case in done]
    waiting = [case for case in cases if targets[case.id] not in skipped]
    if skipped:
        logger.info("%d of %d are there already and kept", len(skipped), len(cases))
        tell_of_unknown(out, skipped, made)
    if not waiting:
        if pages:
            write_index(out, pages, aside)
        return Predicted(written=(), skipped=tuple(skipped), set_aside=aside)
    predictor = _load(folder, device, limit)
    written, failed = [], []
    with (display or Display(quiet=True)).open("predict", len(waiting), "case") as bar:
        for outcome in predict_cases(
            waiting, folder, predictor, targets, bar, dicom, maps, pages, maker
        ):
            if outcome.error is None:
                written.append(targets[outcome.item.id])
            else:
                reason = concealed(str(outcome.error))
                failed.append(SetAside(case=outcome.item.id, stage=STAGE, reason=reason))
    aside = (*aside, *failed)
    if pages:
        write_index(out, pages, aside)
    return Predicted(written=tuple(written), skipped=tuple(skipped), set_aside=aside)


def wanted_pages(
    folder: Model, dicom: Wanted | None, *, report: bool
) -> tuple[Pages | None, Wanted | None]:
    """Return what the pages need, if there are to be any, and the DICOM objects with the PDF.

    A PDF object needs the page it is made of; a page joins the objects where it can be a PDF.
    """
    if not report and not (dicom and dicom.pdf):
        return None, dicom
    pages = open_pages(folder)
    if dicom and pages.pdf:
        dicom = replace(dicom, pdf=True)
    return pages, dicom


def check_maps(maps: Sequence[str], folder: Model) -> None:
    """Refuse maps that this model cannot give.

    Raises
    ------
    ConfigError
        For an ensemble of different plans, and for a map that would say nothing or has no file.
    """
    if maps and isinstance(folder, EnsembleFolder):
        raise ConfigError(
            "--maps: an ensemble of different plans has none; ask one of its parts (parts/...)"
        )
    if isinstance(folder, EnsembleFolder):
        return
    document = folder.document
    if "disagreement" in maps and len(folder.weights) == 1 and not document.inference.mirror:
        raise ConfigError(
            "--maps disagreement: one network without mirroring disagrees with nobody; train with "
            "train.folds=all or infer.mirror=true, or ask for entropy"
        )
    if "classes" in maps and len(document.tiles.patch_size) == 2:
        raise ConfigError("--maps classes: is written for volumes; ask for foreground or entropy")


def _watch(args: argparse.Namespace) -> NoReturn:
    """Predict what arrives in a folder, until SIGINT or SIGTERM."""
    from medseg.pipelines.predict_watch import parse_every, watch
    from medseg.pipelines.signals import interruptible

    every_s, limit = parse_every(args.every), read_memory(args.memory)
    if args.overwrite or len(args.input) != 1:
        raise ConfigError(
            "--watch takes one folder, and no --overwrite: what has an output is done"
        )
    dicom = wanted_objects(args)
    folder = _open_model(args.model, args.folds)
    check_maps(args.maps, folder)
    if args.names:
        check_names_file(args.names, args.out)
    pages, dicom = wanted_pages(folder, dicom, report=args.report)
    predictor = _load(folder, args.device, limit)
    with interruptible(), Display(quiet=True).open("predict", 0, "case") as bar:
        watch(
            folder,
            predictor,
            args.input[0],
            args.out,
            every_s=every_s,
            bar=bar,
            dicom=dicom,
            maps=args.maps,
            pages=pages,
            identifiers=args.identifiers,
            names=args.names,
        )


def _open_model(model: Path, folds: Sequence[int]) -> Model:
    """Read a model folder and say what must be said of it."""
    folder = open_model(model)
    if folds:
        folder = folder.with_folds(folds)
    data = folder.document.data
    if data.origin == "SYNTHETIC":
        logger.warning(
            "this model was trained on SYNTHETIC data (%s); it is not for real patients", data.name
        )
    return folder


def _load(folder: Model, device: str, memory: int | None) -> Predictor | Mixture:
    """Load a model onto a device; of an ensemble every part."""
    from medseg.export.load import load_predictor
    from medseg.inference.mixture import Mixture

    tell_of_calibration(calibrations_of(folder))
    if isinstance(folder, EnsembleFolder):
        return Mixture([load_predictor(part, device, memory) for part in folder.parts])
    return load_predictor(folder, device, memory)
