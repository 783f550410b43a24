"""`medseg export MODEL -o OUT`: a model as ONNX or torch.export graphs, or as a MONAI bundle."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.case import Case, ImageFile
from medseg.errors import ConfigError, FormatError
from medseg.model_folder import ModelFolder, read_model_folder
from medseg.pipelines.logs import logging_to_stderr

if TYPE_CHECKING:
    from medseg.artefacts import ResampledCase
    from medseg.export.check import CheckImage

logger = logging.getLogger(__name__)

FORMATS = ("folder", "onnx", "torch-export", "monai-bundle")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``medseg export``."""
    parser.add_argument("model", metavar="MODEL", type=Path, help="a run folder, or a model folder")
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, required=True, help="a new folder")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="folder",
        help="default: the model folder as it is (safetensors and JSON)",
    )
    parser.add_argument(
        "--check",
        metavar="IMAGE",
        type=Path,
        help="image that network and export must agree on; default: a case of the run, else noise",
    )
    parser.add_argument(
        "--any-size",
        action="store_true",
        help="graphs that take any multiple of the network's divisor, not the patch size alone",
    )
    parser.add_argument("--quiet", action="store_true", help="warnings only")


def main(args: argparse.Namespace) -> int:
    """Write a model in the form asked for, checked; return 0.

    Raises
    ------
    ConfigError
        If the model, the format or OUT cannot be used; nothing has been written.
    ExportError
        If the exported form does not answer as the network does; nothing has been written.
    """
    from medseg.export.bundle import export_bundle
    from medseg.export.write import export_folder, export_graphs

    with logging_to_stderr(quiet=args.quiet, debug=args.debug):
        folder = read_model_folder(args.model)
        if folder.previous is not None:
            raise ConfigError(
                f"{folder.folder}: is a cascade of two models, which has no exported form; copy "
                "the folder, which 'medseg predict' runs as it is"
            )
        if args.any_size and args.format not in ("onnx", "torch-export"):
            raise ConfigError(f"--any-size goes with graphs; --format {args.format} has none")
        if args.format == "folder":
            if args.check is not None:
                raise ConfigError("--check: a copied folder needs none; give a --format")
            logger.info("copied to %s", export_folder(folder, args.out))
            return 0
        image = check_image(args.model, folder, args.check)
        if args.format == "monai-bundle":
            check = export_bundle(folder, args.out, image=image)
        else:
            check = export_graphs(
                folder, args.out, args.format, image=image, any_size=args.any_size
            )
        logger.info(
            "checked on %s, shape %s: largest logit difference %.3g (largest logit %.3g), "
            "%.4f %% of the voxels equal",
            check.on,
            check.shape,
            check.max_logit_difference,
            check.largest_logit,
            100 * check.mask_agreement,
        )
        logger.info("written to %s", args.out)
    return 0


def check_image(model: Path, folder: ModelFolder, given: Path | None) -> CheckImage | None:
    """Return the image on which an export is checked.

    Parameters
    ----------
    model : Path
        As the user gave it: a run folder has cases.
    folder : ModelFolder
    given : Path, optional
        An image file, or a folder with one case.

    Returns
    -------
    CheckImage or None
        None, with a warning, where nothing is given and the run's cases are not at hand.

    Raises
    ------
    CaseError
        If the image cannot be read or does not suit the model.
    """
    from medseg.export.check import CheckImage
    from medseg.io.store import open_array

    if given is not None:
        return _prepare(given, folder)
    case = _case_of_run(model)
    if case is not None:
        try:
            image = open_array(case.image).read_all()
        except FormatError as error:
            logger.info("case %s of the run is not at hand (%s)", case.id, error)
        else:
            return CheckImage(name=f"case {case.id} ({case.split}) of the run", image=image)
    logger.warning(
        "no case of the run is at hand: the export is checked on noise; --check IMAGE takes a real "
        "one"
    )
    return None


def _prepare(path: Path, folder: ModelFolder) -> CheckImage:
    """Read an image and bring it to network input."""
    from medseg.export.check import CheckImage
    from medseg.io.load import load_image
    from medseg.pipelines.predict_inputs import find_cases
    from medseg.pipelines.predict_steps import check_suits
    from medseg.pipelines.shown_names import shown_file
    from medseg.preprocessing import Recipe, preprocess

    document = folder.document
    if path.is_dir():
        cases, _ = find_cases(path, document.data.channels, len(document.tiles.patch_size))
        if len(cases) != 1:
            raise ConfigError(f"--check {path}: holds {len(cases)} cases; name one file")
        case = cases[0]
    else:
        if not path.is_file():
            raise ConfigError(f"--check {path}: no such file")
        shown = shown_file(path.name, path, "drop")  # it stands in export.json
        case = Case(id=shown, image=(ImageFile(path=path),))
    image = load_image(case)
    check_suits(case, image, folder)
    ready = preprocess(image.volume, Recipe.of(folder.plan))
    return CheckImage(name=case.id, image=ready.image)


def _case_of_run(model: Path) -> ResampledCase | None:
    """Find a resampled case of a run folder: of the test split, else a validation case."""
    from medseg.artefacts import Resampled
    from medseg.pipelines.build import SCRATCH
    from medseg.pipelines.runfolder import ARTEFACT, RunFolder

    found = sorted(
        model.glob(f"stages/resample/*/{ARTEFACT}"), key=lambda path: path.stat().st_mtime
    )
    if not found:
        return None
    path = found[-1].resolve()
    run = path.parents[3]
    places = RunFolder(run.parent, run.name, SCRATCH).places.within(path.parent)
    resampled: Resampled = places.load(path.read_text(encoding="utf-8"), Resampled)
    rank = {"test": 0, "train": 1, "predict": 2}
    return min(resampled.cases, key=lambda case: rank[case.split], default=None)
