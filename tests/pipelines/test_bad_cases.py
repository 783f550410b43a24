"""Corrupt cases never end a run: the others finish, each bad one is named with its cure."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.pipelines.tiny import CONFIG, run

MANIFEST = """
name: msd_like
reader: decathlon
root: task
modality: MR
labels: {ball: 1}
splits: {test: 0.3, folds: 2}
"""


def write_task(root: Path, cases: int = 10) -> None:
    """Write an MSD-like task: a bright ball in noise, at another place in every case."""
    rng = np.random.default_rng(0)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (20, 24, 16)), indexing="ij"))
    for i in range(cases):
        centre = rng.uniform(7, 10, 3).reshape(3, 1, 1, 1)
        label = ((grid - centre) ** 2).sum(0) < 16
        image = (rng.normal(100, 10, label.shape) + 80 * label).astype(np.float32)
        for folder, array in (("imagesTr", image), ("labelsTr", label.astype(np.uint8))):
            nib.save(nib.Nifti1Image(array, np.eye(4)), root / folder / f"ball_{i:02d}.nii.gz")


def corrupt(task: Path) -> None:
    """Spoil four cases, each in its own way."""
    cut_short = task / "imagesTr" / "ball_01.nii.gz"
    cut_short.write_bytes(cut_short.read_bytes()[: cut_short.stat().st_size // 2])
    nan = np.full((20, 24, 16), 7, np.float32)
    nan[3, 4, 5] = np.nan
    for name, array in {
        "labelsTr/ball_03.nii.gz": np.ones((20, 24, 15), np.uint8),
        "imagesTr/ball_05.nii.gz": np.zeros((20, 24, 16), np.float32),
        "imagesTr/ball_07.nii.gz": nan,
    }.items():
        nib.save(nib.Nifti1Image(array, np.eye(4)), task / name)


CURES = {
    "ball_01": ("cut short", "copy it from its source again"),
    "ball_03": ("(20, 24, 15)", "(20, 24, 16)"),
    "ball_05": ("every voxel is 0", "exclude"),
    "ball_07": ("NaN", "(3.0, 4.0, 5.0) mm"),
}


@pytest.mark.slow
def test_the_others_finish_and_each_bad_case_is_named_with_its_cure(tmp_path: Path) -> None:
    write_task(tmp_path / "task")
    corrupt(tmp_path / "task")
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    config = tmp_path / "tiny.yaml"
    text = CONFIG.format(manifest=tmp_path / "manifest.yaml")
    config.write_text(text.replace("spacing: [8, 8, 8]", "spacing: [1, 1, 1]"))

    for output in (
        run(config, tmp_path / "runs", code=3),
        run(config, tmp_path / "runs", code=3),  # nothing to do, and still not forgotten
    ):
        for case, words in CURES.items():
            line = next(line for line in output.splitlines() if f"case {case}" in line)
            assert all(word in line for word in words), line
    assert "nothing to do" in output
    folder = tmp_path / "runs" / "tiny"
    record = json.loads((folder / "run.json").read_text())
    assert sorted(one["case"] for one in record["set_aside"]) == sorted(CURES)
    page = (folder / "report" / "index.html").read_text()
    assert all(case in page for case in CURES)
    artefact = next((folder / "stages" / "ingest").glob("*/artefact.json"))
    assert len(json.loads(artefact.read_text())["cases"]) == 6
