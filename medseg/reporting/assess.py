"""Look at one case: load it, score it, draw it. Runs in worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.case import Case
from medseg.errors import CaseError
from medseg.geometry.volume import Volume
from medseg.io.load import load_image, load_label
from medseg.io.store import open_array
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.metrics.case import measure_case, score_case
from medseg.metrics.confusion import confusion_matrix
from medseg.reporting.case_report import (
    CaseReport,
    Picture,
    Role,
    StructureReport,
    edges_touched,
    save_report,
)
from medseg.reporting.findings import find
from medseg.reporting.photo_pictures import draw_photo
from medseg.reporting.pictures import Scene, draw_case
from medseg.reporting.scan_checks import scan_facts
from medseg.reporting.surface import draw_surfaces
from medseg.reporting.viewer import write_viewer
from medseg.reporting.window import NO_IMAGE

Indices = NDArray[np.int16]


@dataclass(frozen=True, kw_only=True)
class AssessedCase:
    """Where the report of one case and its pictures lie."""

    folder: Path
    report: Path
    """JSON, read by `medseg.reporting.case_report.load_report`."""


def assess_case(
    out: Path,
    case: Case,
    pred: Path,
    scheme: LabelScheme,
    modality: str,
    role: Role,
    fold: int | None,
    digest: str,  # noqa: ARG001 - part of the key: a changed image is assessed anew
) -> AssessedCase:
    """Load a case with its prediction and write its report and pictures.

    Parameters
    ----------
    out : Path
        Folder for the files.
    case : Case
        With its label where it is to be scored.
    pred : Path
        ``.b2nd`` of class indices on the case's canonical grid.
    scheme : LabelScheme
        Label table.
    modality : str
        DICOM modality, or ``photo``.
    role : {"test", "validation", "predict"}
        ``predict``: the reference, if there is one, is not looked at.
    fold : int, optional
        Fold in which the case validates.
    digest : str
        Hash of the case's files.

    Raises
    ------
    CaseError
        If a file cannot be read or the prediction lies on another grid.
    """
    image = load_image(case)
    grid = image.volume.grid
    indices: Indices = open_array(pred).read_all()
    if indices.shape != grid.shape:
        raise CaseError(
            case.id,
            f"the prediction has shape {indices.shape}, the image {grid.shape}",
            "the image changed after it was segmented: run again with --from ingest",
        )
    label = None if role == "predict" else load_label(case, scheme, image)
    report = describe_case(
        case.id, image.volume, indices, label, scheme, case.annotated, modality, role, fold, out,
        image.orientation,
    )  # fmt: skip
    return AssessedCase(folder=out, report=save_report(report, out))


def describe_case(
    name: str,
    image: Volume,
    pred: Indices,
    label: Indices | None,
    scheme: LabelScheme,
    annotated: tuple[str, ...] | None,
    modality: str,
    role: Role,
    fold: int | None,
    folder: Path,
    orientation: str = "",
) -> CaseReport:
    """Measure, score and draw arrays that are in memory.

    Parameters
    ----------
    name : str
        Case id.
    image : Volume
        On the canonical grid.
    pred, label : int16 ndarray of shape (*spatial)
        Class indices on the same grid; the label is None without reference.
    scheme : LabelScheme
        Label table.
    annotated : tuple of str, optional
        Names of the labels the reference covers; None means all.
    modality : str
        DICOM modality, or ``photo``.
    role : {"test", "validation", "predict"}
    fold : int, optional
    folder : Path
        Where the pictures are written.
    orientation : str
        Axis codes of the stored image; empty where they are not known.
    """
    grid = image.grid
    covered = None if annotated is None else {scheme.index_of(label) for label in annotated}
    scores = {}
    counted = pred
    if label is not None:
        counted = np.where(label == IGNORE_INDEX, np.int16(0), pred)
        scores = {s.structure: s for s in score_case(pred, label, grid, scheme, covered)}
    sizes = {size.structure: size for size in measure_case(counted, grid, scheme)}
    scene = Scene(
        case=name,
        image=image,
        pred=pred,
        label=label,
        structures=scheme.structures,
        referenced=frozenset(scores),
        modality=modality,
    )
    has_image = modality != NO_IMAGE
    findings = find(image, counted, scheme.structures, has_image=has_image)
    return CaseReport(
        case=name,
        role=role,
        fold=fold,
        group=None,
        shape=grid.shape,
        spacing=grid.spacing,
        structures=tuple(
            StructureReport(
                name=s.name,
                color=s.color,
                size=sizes[s.name],
                edges=edges_touched(pred, s),
                score=scores.get(s.name),
                findings=found,
            )
            for s, found in zip(scheme.structures, findings, strict=True)
        ),
        pictures=(
            *draw_case(scene, folder),
            *draw_surfaces(name, pred, grid, scheme.structures, folder),
            *_photo_pictures(scene, folder),
        ),
        notes=(),
        confusion=_confusion(pred, label, scheme) if covered is None and grid.ndim == 2 else None,
        scan=scan_facts(image, modality, orientation) if has_image and grid.ndim == 3 else None,
        viewer=write_viewer(image, pred, label, scheme, modality, folder),
    )


def _photo_pictures(scene: Scene, folder: Path) -> tuple[Picture, ...]:
    """Draw classes and errors over a photograph; nothing for volumes and masks alone."""
    if scene.grid.ndim != 2 or scene.modality == NO_IMAGE:
        return ()
    return draw_photo(scene.case, scene.image, scene.pred, scene.label, scene.structures, folder)


def _confusion(
    pred: Indices, label: Indices | None, scheme: LabelScheme
) -> tuple[tuple[int, ...], ...] | None:
    """Return the confusion matrix of a photograph as plain numbers."""
    if label is None:
        return None
    matrix = confusion_matrix(pred, label, len(scheme.labels) + 1)
    return tuple(tuple(row) for row in matrix.tolist())
