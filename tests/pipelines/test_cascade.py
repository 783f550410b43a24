"""A cascade end to end: an earlier run, one that sees its predictions, and the model of both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medseg.artefacts import Resampled, ResampledCase
from medseg.case import Case, ImageFile
from medseg.inference.cascade import network_input
from medseg.inference.weights import load_predictor
from medseg.io.load import load_image
from medseg.io.store import open_array
from medseg.io.volumes import read_volume
from medseg.model_folder import read_model_folder
from medseg.pipelines.cli import main
from medseg.pipelines.runfolder import RunFolder
from medseg.preprocessing import preprocess
from tests.pipelines.tiny import write_tiny


def medseg(*words: object, code: int = 0) -> None:
    assert main([str(word) for word in words]) == code


def held_out(run: Path) -> list[ResampledCase]:
    folder = RunFolder(run.parent, run.name, "_scratch")
    place = folder.stage("resample", folder.record()["stages"]["resample"]["key"])
    found: Resampled = folder.places.within(place.final).load(place.text(), Resampled)
    return [case for case in found.cases if case.split == "test"]


@pytest.mark.slow
def test_a_run_that_sees_an_earlier_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, runs = write_tiny(tmp_path), tmp_path / "runs"
    first, second = runs / "first", runs / "second"
    where = ("run", config, "--runs-dir", runs, "train.folds=all", "--until", "postprocess")
    coarse = ("experiment=first", "resample.spacing=[12,12,12]", "patch_sample.patch_size=[8,8,8]")
    cascade = ("experiment=second", f"resample.previous={first}")
    medseg(*where, *cascade, code=2)
    assert "is no run folder" in capsys.readouterr().err
    medseg(*where, *coarse)
    medseg(*where, *cascade)

    document = json.loads((second / "model" / "model.json").read_text())
    assert document["network"]["arguments"]["in_channels"] == 3  # CT, liver, tumour
    assert document["input_example"]["shape"] == [1, 3, 16, 16, 16]
    model = read_model_folder(second / "model")
    assert model.with_folds([1]).previous.weights == model.previous.weights[1:]  # type: ignore[union-attr]

    # the model folder alone feeds the network what the run fed it ...
    predictor = load_predictor(model, "cpu")
    cases = held_out(second)
    assert cases
    for case in cases:
        stored = open_array(case.image).read_all()
        assert set(np.unique(stored[1:])) == {0.0, 1.0}
        (file,) = runs.glob(f"_scratch/**/images/{case.id}.nii.gz")
        image = load_image(Case(id=case.id, image=(ImageFile(path=file),)))
        ready = preprocess(image.volume, model.recipe)
        seen = network_input(predictor, ready, case=case.id, source=image.volume.grid)
        np.testing.assert_allclose(seen[0], stored[0], atol=1e-3)  # stores keep 13 bits or so
        assert (seen[1:] != stored[1:]).mean() < 2e-3
        for axis in (1, 2, 3):
            assert (np.roll(seen[1:], 1, axis=axis) != stored[1:]).mean() > 0.02

    # ... and predicts what the run predicted
    medseg("predict", second / "model", file, "-o", tmp_path / "out", "--device", "cpu")
    preds = [
        read_volume(folder / file.name).data
        for folder in (tmp_path / "out", second / "predictions")
    ]
    assert preds[0].any()
    assert (preds[0] != preds[1]).mean() < 5e-3

    medseg("export", second, "-o", tmp_path / "onnx", "--format", "onnx", code=2)
    assert "is a cascade" in capsys.readouterr().err
    medseg("best", first, second, "-o", tmp_path / "best", "--device", "cpu")
    medseg("predict", tmp_path / "best", file, "-o", tmp_path / "again", "--device", "cpu")

    # other predictions of the earlier run make another run; the same ones do not
    capsys.readouterr()
    medseg(*where, *cascade, "--dry-run")
    assert "would run" not in capsys.readouterr().out
    medseg(*where[:-1], "infer", *coarse, "train.lr=1e-3")
    medseg(*where, *cascade, "--dry-run")
    rows = capsys.readouterr().out
    assert "resample" in next(line for line in rows.splitlines() if "would run" in line)
