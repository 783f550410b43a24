"""The built-in CT phantom: generated once, then read like any other data set."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path

from medseg.case import Case, ImageFile, LabelPart
from medseg.manifest import Manifest
from medseg.phantom.ct import VERSION, PhantomSettings
from medseg.phantom.write import Format, case_id, case_paths, write_case
from medseg.readers.common import checked
from medseg.readers.generated import make_whole

logger = logging.getLogger(__name__)


def read_phantom(
    root: Path,
    manifest: Manifest,
    *,
    cases: int = 16,
    seed: int = 0,
    file_format: Format = "nifti",
    in_plane_mm: tuple[float, float] = PhantomSettings.in_plane_mm,
    slice_mm: tuple[float, float] = PhantomSettings.slice_mm,
    height_mm: tuple[float, float] = PhantomSettings.height_mm,
    noise_hu: tuple[float, float] = PhantomSettings.noise_hu,
) -> list[Case]:
    """List generated CTs of the abdomen; what is not there yet is made.

    Parameters
    ----------
    root : Path
        Where they are kept; each group of options has its own folder inside.
    manifest : Manifest
        The data set; its labels are liver 1 and tumour 2.
    cases : int
        How many patients.
    seed : int
        Seed of the cohort.
    file_format : {"nifti", "dicom"}
        Form of the images.
    in_plane_mm, slice_mm, height_mm : pair of float
        Ranges of the spacing and of the length that is scanned.
    noise_hu : pair of float
        Range of the noise's standard deviation.
    """
    settings = PhantomSettings(
        in_plane_mm=(in_plane_mm[0], in_plane_mm[1]),
        slice_mm=(slice_mm[0], slice_mm[1]),
        height_mm=(height_mm[0], height_mm[1]),
        noise_hu=(noise_hu[0], noise_hu[1]),
    )
    key = json.dumps([VERSION, seed, file_format, asdict(settings)])
    folder = root / hashlib.sha256(key.encode()).hexdigest()[:12]
    todo = [i for i in range(cases) if not (folder / case_id(i)).is_dir()]
    if todo:
        logger.info("making %d SYNTHETIC cases (CT phantom) in %s", len(todo), folder)
    for index in todo:
        make_whole(
            folder / case_id(index),
            partial(write_case, seed=seed, index=index, file_format=file_format, settings=settings),
        )
    return checked(
        [_case(folder, index, file_format) for index in range(cases)],
        manifest,
        looked_for="generated cases; 'cases' in options is 0",
    )


def _case(folder: Path, index: int, file_format: Format) -> Case:
    """Describe one generated case."""
    image, label = case_paths(folder / case_id(index), index, file_format)
    return Case(id=case_id(index), image=(ImageFile(path=image),), label=(LabelPart(path=label),))
