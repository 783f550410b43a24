"""A cross-validation end to end: folds added, reported, predicted with together and alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from medseg.io.volumes import read_volume
from medseg.pipelines.cli import main
from tests.pipelines.tiny import write_tiny


def medseg(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "report" / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_one_fold_then_all(tmp_path: Path) -> None:
    config, runs = write_tiny(tmp_path), tmp_path / "runs"
    medseg("run", config, "--runs-dir", runs)
    folder = runs / "tiny"
    kept = folder / "stages" / "train" / "cases"
    (first,) = kept.glob("*/weights.safetensors")
    written = first.stat().st_mtime_ns
    alone = (folder / "model" / "weights.safetensors").read_bytes()
    assert {row["fold"] for row in rows_of(folder) if row["split"] == "validation"} == {"0"}

    medseg("run", config, "--runs-dir", runs, "train.folds=all")
    assert len(list(kept.glob("*/weights.safetensors"))) == 2
    assert first.stat().st_mtime_ns == written
    names = sorted(path.name for path in (folder / "model").iterdir())
    weights = ["weights-0.safetensors", "weights-1.safetensors"]
    assert names == ["cohort.json", "model.json", "quality.json", *weights]
    assert (folder / "model" / "weights-0.safetensors").read_bytes() == alone
    rows = rows_of(folder)
    assert {row["fold"] for row in rows if row["split"] == "validation"} == {"0", "1"}
    assert {row["fold"] for row in rows if row["split"] == "test"} == {""}
    validated = {row["case"] for row in rows if row["split"] == "validation"}
    assert len(validated) + len({row["case"] for row in rows if row["split"] == "test"}) == 7
    summary = json.loads((folder / "report" / "summary.json").read_text())
    assert [fold["fold"] for fold in summary["folds"]] == [0, 1]
    assert sum(fold["cases"] for fold in summary["folds"]) == len(validated)

    image = next(p for p in sorted(tmp_path.rglob("*.nii.gz")) if "predictions" not in p.parts)
    medseg("predict", folder, image, "-o", tmp_path / "all", "--device", "cpu")
    medseg("predict", folder, image, "-o", tmp_path / "one", "--device", "cpu", "--folds", "0")
    (name,) = (path.name for path in (tmp_path / "one").glob("*.nii.gz"))
    preds = [read_volume(tmp_path / where / name) for where in ("all", "one")]
    assert preds[0].data.shape == preds[1].data.shape == read_volume(image).data.shape
