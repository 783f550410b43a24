"""What a model folder knows of its cohort, for the page of a case that was never part of a run.

``cohort.json`` stands beside ``model.json``: what the training scans looked like, how far the
volumes of the validation cases were off, and in how many pieces their references come. It names
no case.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from medseg.artefacts import Dataset, Plan
from medseg.case import Case
from medseg.errors import ConfigError
from medseg.io.load import load_image, load_label
from medseg.io.store import open_array
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.metrics.case import measure_case
from medseg.reporting.scan_checks import TrainingScans, training_scans
from medseg.reporting.words import COMPONENTS_PERCENTILE

FILE = "cohort.json"


@dataclass(frozen=True, kw_only=True)
class SizePair:
    """One structure of one validation case: predicted, and in the reference."""

    structure: str
    volume_ml: float
    """In mL; px for photographs."""
    reference_ml: float
    reference_components: int


@dataclass(frozen=True, kw_only=True)
class Background:
    """``cohort.json``."""

    training: TrainingScans | None = None
    """None: nothing is known of the training scans, or they are photographs."""
    usual: Mapping[str, int] = field(default_factory=dict)
    """Most pieces that a structure's references usually have."""
    volume_errors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Structure to ``ln(predicted / reference)`` of each validation patient, ascending."""


def case_sizes(
    *,
    out: Path,  # noqa: ARG001 - nothing is written but the result
    pred: Path,
    case: Case,
    digest: str,  # noqa: ARG001 - names the content of the files, so it is part of the key
    scheme: LabelScheme,
) -> list[SizePair]:
    """Measure what was predicted for a validation case, and its reference.

    Parameters
    ----------
    out : Path
        Not used.
    pred : Path
        ``.b2nd`` of class indices on the case's canonical grid.
    case : Case
        With its label; structures that it does not cover are left out.
    digest : str
        Hash of the case's files.
    scheme : LabelScheme
        Label table.

    Raises
    ------
    CaseError
        If a file cannot be read.
    """
    image = load_image(case)
    label = load_label(case, scheme, image)
    indices = np.where(label == IGNORE_INDEX, np.int16(0), open_array(pred).read_all())
    grid = image.volume.grid
    covered = set(range(1, len(scheme.labels) + 1))
    if case.annotated is not None:
        covered = {scheme.index_of(name) for name in case.annotated}
    known = {s.name for s in scheme.structures if covered.issuperset(s.indices)}
    truth = {size.structure: size for size in measure_case(label, grid, scheme)}
    return [
        SizePair(
            structure=size.structure,
            volume_ml=size.volume_ml,
            reference_ml=truth[size.structure].volume_ml,
            reference_components=truth[size.structure].components,
        )
        for size in measure_case(indices, grid, scheme)
        if size.structure in known
    ]


def make_background(
    sizes: Mapping[str, Sequence[SizePair]],
    patients: Mapping[str, str],
    training: TrainingScans | None,
) -> Background:
    """Sum up the validation cases.

    Parameters
    ----------
    sizes : mapping of str to sequence of SizePair
        Case id to its structures.
    patients : mapping of str to str
        Case id to patient; scans of one patient are averaged.
    training : TrainingScans, optional
    """
    pieces: dict[str, list[int]] = {}
    errors: dict[str, dict[str, list[float]]] = {}
    for case, pairs in sizes.items():
        for pair in pairs:
            if pair.reference_components:
                pieces.setdefault(pair.structure, []).append(pair.reference_components)
            if pair.volume_ml > 0 and pair.reference_ml > 0:
                error = math.log(pair.volume_ml / pair.reference_ml)
                of_patients = errors.setdefault(pair.structure, {})
                of_patients.setdefault(patients.get(case, case), []).append(error)
    return Background(
        training=training,
        usual={
            name: int(np.percentile(counts, COMPONENTS_PERCENTILE, method="higher"))
            for name, counts in pieces.items()
        },
        volume_errors={
            name: tuple(sorted(float(np.mean(each)) for each in found.values()))
            for name, found in errors.items()
        },
    )


def scans_of_training(dataset: Dataset, plan: Plan) -> TrainingScans | None:
    """Sum up the training scans, to tell which other scans are unlike them."""
    scans = [case for case in dataset.cases if case.split == "train"]
    intensity = None
    if plan.normalization and plan.normalization[0].scheme == "ct":
        known = dataset.fingerprint.intensities[:1]
        intensity = next(((i.percentile_00_5, i.percentile_99_5) for i in known), None)
    return training_scans([s.grid for s in scans], [s.orientation for s in scans], intensity)


def write_background(folder: Path, background: Background) -> Path:
    """Write ``cohort.json`` into a model folder and return its path."""
    file = folder / FILE
    text = json.dumps(asdict(background), indent=2, allow_nan=False, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")
    return file


def read_background(folder: Path) -> Background:
    """Read ``cohort.json``; a folder without one (of an older version) knows nothing.

    Raises
    ------
    ConfigError
        If the file holds something else.
    """
    file = folder / FILE
    if not file.is_file():
        return Background()
    try:
        return TypeAdapter(Background).validate_python(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise ConfigError(f"{file}: not readable ({error}); copy the model again") from error
