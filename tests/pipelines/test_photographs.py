"""All stages on made-up street scenes: classes without background, void, PNG out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.config import read_document
from medseg.io.picture import read_mask
from medseg.shipped import shipped
from tests.pipelines.tiny import run

CONFIG = """
experiment: tiny
pipeline: natural_image
manifest: {manifest}
network: {{arguments: {{widths: [4, 8]}}}}
resample: {{short_side: 24}}
patch_sample: {{patch_size: [16, 24], rows: 20}}
train:
  budget: 20it
  batch_size: 2
  validations: 2
  precision: 32-true
  schedule: one_cycle
  encoder_lr: 0.5
  loss: {{name: cross_entropy, class_weights: median_frequency}}
infer: {{mirror: true, scales: [0.75, 1.0]}}
compute: {{device: cpu, workers: 1}}
tracking: off
"""


def write_config(folder: Path) -> Path:
    """Write the tiny config and its manifest: the shipped one with few and small scenes."""
    text = shipped("data_manifests", "scenes").read_text()
    small = text.replace("{cases: 60, seed: 0}", "{cases: 12, seed: 0, rows: 36, cols: 48}")
    manifest = folder / "tiny_scenes.yaml"
    manifest.write_text(small.replace("folds: 4", "folds: 2"))
    path = folder / "tiny.yaml"
    path.write_text(CONFIG.format(manifest=manifest))
    return path


@pytest.mark.slow
def test_street_scenes_from_nothing_to_a_report(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    said = run(config, tmp_path / "runs")
    assert "SYNTHETIC" in said
    assert "class weights (median_frequency)" in said
    folder = tmp_path / "runs" / "tiny"
    labels = sorted((tmp_path / "runs" / "_scratch").rglob("labels/*.png"))
    assert len(labels) == 12
    counted = np.zeros((10, 10), dtype=np.int64)
    for file in sorted((folder / "predictions").iterdir()):
        pred = read_mask(file)
        assert pred.shape == (36, 48)  # the size of the input
        assert pred.min() >= 1  # every pixel has a class
        with Image.open(folder / "predictions_colour" / file.name) as colour:
            assert (colour.mode, colour.size) == ("P", (48, 36))
            assert (np.asarray(colour) == pred).all()  # its indices are the values
            assert np.unique(pred).size == len(colour.convert("RGB").getcolors())
    summary = json.loads((folder / "report" / "summary.json").read_text())
    with (folder / "report" / "metrics.csv").open(newline="") as stream:
        tests = {row["case"] for row in csv.DictReader(stream) if row["split"] == "test"}
    pairs = []
    for name in tests:  # all scores follow from the files at the original size
        truth = read_mask(next(p for p in labels if p.stem == name)).astype(int)
        pred = read_mask(folder / "predictions" / f"{name}.png").astype(int)
        np.add.at(counted, (truth[truth != 255] + 1, pred[truth != 255]), 1)
        pairs.append((pred - 1, truth))  # the files count classes from 0
    hit, union = np.diagonal(counted), counted.sum(0) + counted.sum(1) - np.diagonal(counted)
    known = (hit[union > 0] / union[union > 0]).mean()
    assert summary["data"]["origin"] == "SYNTHETIC"
    assert summary["pixels"]["miou"] == pytest.approx(known)
    assert summary["pixels"]["pixel_accuracy"] == pytest.approx(hit.sum() / counted.sum())
    assert summary["pixels"]["validation"]["images"] == 4
    check_with_torchmetrics(summary["pixels"], pairs)
    check_what_decided(folder)
    page = (folder / "report" / "index.html").read_text()
    assert "All pixels" in page
    assert "Worst pictures" in page


def check_with_torchmetrics(
    pixels: dict[str, float], pairs: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    """Compare the report with torchmetrics on the predictions that the run wrote, 255 ignored."""
    import torch
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

    known = {"num_classes": 9, "ignore_index": 255, "validate_args": False}
    others = {
        "miou": MulticlassJaccardIndex(average="macro", **known),
        "fwiou": MulticlassJaccardIndex(average="weighted", **known),
        "mean_accuracy": MulticlassAccuracy(average="macro", **known),
        "pixel_accuracy": MulticlassAccuracy(average="micro", **known),
    }
    assert any((truth == 255).any() for _, truth in pairs)
    for name, metric in others.items():
        for pred, truth in pairs:
            metric.update(torch.from_numpy(pred), torch.from_numpy(truth))
        assert pixels[name] == pytest.approx(metric.compute().item(), abs=1e-6), name


def check_what_decided(folder: Path) -> None:
    """Of a training on photographs the step with the best mIoU is kept."""
    (history,) = (folder / "stages" / "train").rglob("history.csv")
    with history.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    best = max(rows, key=lambda row: (float(row["val/miou"]), int(row["step"])))
    model = json.loads((folder / "model" / "model.json").read_text())
    assert model["members"][0]["best_step"] == int(best["step"])


def test_the_main_job_in_2d_is_small_and_needs_no_data() -> None:
    config = read_document("scenes").data
    assert config["manifest"] == "scenes"
    manifest = read_document("scenes", kind="data_manifests").data
    assert manifest["synthetic"] is True
