"""`medseg predict --dicom-seg` and its like: DICOM objects beside the prediction of a series."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.case import Case
from medseg.errors import CaseError, ConfigError, FormatError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medseg.dicom_out import SourceSeries, Wanted
    from medseg.ensemble_folder import Model
    from medseg.geometry.volume import Volume
    from medseg.io.load import LoadedImage

FLAGS = {
    "seg": "dicom_seg",
    "labelmap": "labelmap",
    "sr": "dicom_sr",
    "rtstruct": "rtstruct",
    "capture": "dicom_capture",
    "pdf": "dicom_pdf",
}
"""Which argument of the command asks for which object."""


@dataclass(frozen=True, kw_only=True)
class Segmented:
    """What the objects of one case need beside its prediction."""

    source: SourceSeries
    image: Volume
    """On the canonical grid, as it was read."""


def add_dicom_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which DICOM objects a prediction may come with."""
    group = parser.add_argument_group("DICOM out, for DICOM series")
    group.add_argument("--dicom-seg", action="store_true", help="write <case>_seg.dcm (BINARY)")
    group.add_argument(
        "--labelmap", action="store_true", help="write the SEG as a label map (DICOM 2024)"
    )
    group.add_argument(
        "--dicom-sr", action="store_true", help="write <case>_sr.dcm (TID 1500), and its SEG"
    )
    group.add_argument("--rtstruct", action="store_true", help="write <case>_rtstruct.dcm")
    group.add_argument(
        "--dicom-capture",
        action="store_true",
        help="write <case>_capture.dcm: pictures with contours and volumes burned in",
    )
    group.add_argument(
        "--dicom-pdf",
        action="store_true",
        help="write <case>_report.dcm (Encapsulated PDF) and the report",
    )


def wanted_objects(args: argparse.Namespace) -> Wanted | None:
    """Return which objects the command line asks for; None where it asks for none.

    Raises
    ------
    MissingExtraError
        If they need highdicom or weasyprint and it is not installed.
    """
    asked = {kind: bool(getattr(args, flag, False)) for kind, flag in FLAGS.items()}
    if not any(asked.values()):
        return None
    from medseg.dicom_out import Wanted
    from medseg.reporting.pdf import why_no_pdf

    wanted = Wanted(**asked)
    wanted.check()
    if wanted.pdf and (reason := why_no_pdf()):
        raise MissingExtraError(reason)
    return wanted


def check_series(cases: Sequence[Case]) -> None:
    """Raise ConfigError unless every case is a DICOM series."""
    from medseg.io.dicom import is_dicom

    other = [
        case.image[0].path
        for case in cases
        if not case.image[0].path.is_dir() and not is_dicom(case.image[0].path)
    ]
    if other:
        flags = ", ".join("--" + flag.replace("_", "-") for flag in FLAGS.values())
        more = f" and {len(other) - 1} others" if len(other) > 1 else ""
        raise ConfigError(
            f"{other[0]}{more}: DICOM objects are made for DICOM series only; give the folder of "
            f"the series, or leave out {flags}"
        )


def is_done(target: Path, wanted: Wanted | None) -> bool:
    """Tell whether a case's prediction is there, and the objects that are wanted beside it."""
    case = target.name.removesuffix(".nii.gz")
    names = () if wanted is None else wanted.names(case)
    return target.is_file() and all((target.parent / name).is_file() for name in names)


def read_segmented(case: Case, image: LoadedImage) -> Segmented:
    """Read what the objects of a case will repeat and refer to, before the network runs.

    Raises
    ------
    CaseError
        If the case is no DICOM series of one file per slice, or its headers lack what ties an
        object to it.
    """
    from medseg.dicom_out import read_source
    from medseg.io.dicom import choose_series

    file = case.image[0]
    if image.slice_of_file is None:
        raise CaseError(
            case.id,
            f"{file.path}: not a DICOM series of one file per slice",
            "predict it without DICOM objects, or export it as single slices",
        )
    try:
        files = choose_series(file.path, file.series).files
        source = read_source(file.path, files, image.slice_of_file, image.stored)
    except FormatError as error:
        raise CaseError(case.id, error.what, error.mend) from error
    return Segmented(source=source, image=image.volume)


def write_objects(
    case: Case,
    segmented: Segmented,
    indices: NDArray[np.int16],
    folder: Model,
    wanted: Wanted,
    aside: Path,
    pdf: bytes | None = None,
) -> tuple[Path, ...]:
    """Write the objects of a case into ``aside``; see `medseg.dicom_out.write_dicom`.

    Raises
    ------
    CaseError
        If one cannot be made; then none is written.
    """
    from medseg.dicom_out import Algorithm, Findings, write_dicom

    document = folder.document
    findings = Findings(
        source=segmented.source,
        image=segmented.image,
        indices=indices,
        scheme=document.scheme,
    )
    algorithm = Algorithm(
        model=document.network.name,
        data=document.data.name,
        synthetic=document.data.origin == "SYNTHETIC",
    )
    try:
        return write_dicom(aside, case.id, findings, algorithm, wanted, pdf=pdf)
    except FormatError as error:
        raise CaseError(case.id, error.what, error.mend) from error


def put_in_place(written: Sequence[Path], case: str, out: Path, wanted: Wanted) -> None:
    """Move a case's objects to where they belong, and those of an earlier prediction away."""
    for path in written:
        path.replace(out / path.name)
    for name in wanted.names(case):
        if name not in {path.name for path in written}:
            (out / name).unlink(missing_ok=True)
