"""The built-in street scenes: generated once, then read like any other data set."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from medseg.case import Case, ImageFile, LabelPart
from medseg.manifest import Manifest
from medseg.phantom.scenes import VERSION, drive_id, scene_id, scene_paths, write_scene
from medseg.readers.common import checked
from medseg.readers.generated import make_whole

logger = logging.getLogger(__name__)


def read_scenes(
    root: Path,
    manifest: Manifest,
    *,
    cases: int = 60,
    seed: int = 0,
    rows: int = 120,
    cols: int = 160,
) -> list[Case]:
    """List generated street scenes; what is not there yet is made.

    Parameters
    ----------
    root : Path
        Where they are kept; each group of options has its own folder inside.
    manifest : Manifest
        The data set; its label map gives the values 0 to 8 and 255 their meaning.
    cases : int
        How many scenes; four in turn are one drive, which no split tears apart.
    seed : int
        Seed of the set.
    rows, cols : int
        Size of the pictures in px.
    """
    folder = root / f"v{VERSION}_seed{seed}_{rows}x{cols}"
    todo = [i for i in range(cases) if not (folder / scene_id(i)).is_dir()]
    if todo:
        logger.info("making %d SYNTHETIC street scenes in %s", len(todo), folder)
    for index in todo:
        make_whole(
            folder / scene_id(index),
            partial(write_scene, seed=seed, index=index, shape=(rows, cols)),
        )
    return checked(
        [_case(folder, index) for index in range(cases)],
        manifest,
        looked_for="generated scenes; 'cases' in options is 0",
    )


def _case(folder: Path, index: int) -> Case:
    """Describe one generated scene."""
    image, label = scene_paths(folder / scene_id(index), index)
    return Case(
        id=scene_id(index),
        image=(ImageFile(path=image),),
        label=(LabelPart(path=label),),
        group=drive_id(index),
    )
