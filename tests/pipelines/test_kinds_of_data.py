"""All stages on data that are not the plain case: regions, channels, partial labels, slices."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.pipelines.tiny import CONFIG, run

MANIFEST = """
name: two_channels
reader: table
root: .
modality: MR
channels: [T1, FLAIR]
labels: {oedema: 1, core: 2}
regions:
  - {name: whole tumour, labels: [oedema, core]}
  - {name: tumour core, labels: [core]}
ignore_value: 9
splits: {test: 0.25, folds: 2}
options:
  cases:
"""


def write_study(root: Path, cases: int = 8, spacing: tuple[float, ...] = (1, 1, 1)) -> None:
    """Write two-channel images with a core inside an oedema; the last case knows no core."""
    rng = np.random.default_rng(1)
    shape = (20, 24, 16)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    rows = []
    for i in range(cases):
        centre = rng.uniform(7, 10, 3).reshape(3, 1, 1, 1)
        far = np.sqrt(((grid - centre) ** 2).sum(0))
        label = (far < 6).astype(np.uint8) + (far < 3).astype(np.uint8)
        t1 = rng.normal(100, 10, shape) + 60 * (label == 2)
        flair = rng.normal(50, 10, shape) + 60 * (label > 0)
        label[:, 0] = 9
        partial = i == cases - 1
        if partial:
            label[label == 2] = 0
        files = {"t1": t1.astype(np.float32), "flair": flair.astype(np.float32), "seg": label}
        for name, array in files.items():
            affine = np.diag([*spacing, 1.0])
            nib.save(nib.Nifti1Image(array, affine), root / f"p{i}_{name}.nii.gz")
        known = ", annotated: [oedema], split: test" if partial else ""
        rows.append(
            f"    - {{id: p{i}, image: [p{i}_t1.nii.gz, p{i}_flair.nii.gz], "
            f"label: p{i}_seg.nii.gz{known}}}"
        )
    (root / "study.yaml").write_text(MANIFEST + "\n".join(rows) + "\n")


def write_config(root: Path, **changes: str) -> Path:
    text = CONFIG.format(manifest=root / "study.yaml").replace("[8, 8, 8]", "auto")
    for old, new in changes.items():
        text = text.replace(old, new)
    path = root / "tiny.yaml"
    path.write_text(text)
    return path


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "report" / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_overlapping_regions_two_channels_and_a_partly_labelled_case(tmp_path: Path) -> None:
    write_study(tmp_path)
    config = write_config(tmp_path)
    run(config, tmp_path / "runs", "train.budget=40it", "train.folds=0")
    folder = tmp_path / "runs" / "tiny"
    rows = rows_of(folder)
    assert {row["label"] for row in rows} == {"whole tumour", "tumour core"}
    network = json.loads((folder / "model" / "model.json").read_text())["network"]
    assert network["arguments"]["in_channels"] == 2
    assert network["arguments"]["num_classes"] == 2  # the regions: no background channel
    assert not [r for r in rows if r["case"] == "p7"]  # no region of it is annotated in full
    assert (folder / "predictions" / "p7.nii.gz").is_file()
    for file in (folder / "predictions").iterdir():
        pred = nib.load(file)
        assert pred.shape == (20, 24, 16)
        values = set(np.unique(np.asarray(pred.dataobj)).tolist())
        assert values <= {0, 1, 2}
    for row in rows:  # a core is never larger than the whole that holds it
        if row["label"] == "tumour core" and row["volume_ml"]:
            whole = next(
                r for r in rows if r["case"] == row["case"] and r["label"] == "whole tumour"
            )
            assert float(row["volume_ml"]) <= float(whole["volume_ml"])


@pytest.mark.slow
def test_slice_by_slice_on_thick_slices(tmp_path: Path) -> None:
    write_study(tmp_path, spacing=(1, 1, 5))
    config = write_config(tmp_path)
    run(config, tmp_path / "runs", "network.ndim=2", "patch_sample.patch_size=[16,16,1]")
    folder = tmp_path / "runs" / "tiny"
    network = json.loads((folder / "model" / "model.json").read_text())["network"]
    assert network["arguments"]["ndim"] == 2
    assert len(rows_of(folder)) > 0
    for file in (folder / "predictions").iterdir():
        assert nib.load(file).header.get_zooms() == (1, 1, 5)
