from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from medseg.pipelines import cli
from tests.export.models import make_folder, unet, write_image

PLAN = {"spacing": (1.0, 1.0, 2.0), "patch_size": (8, 8, 8), "network": unet(3)}


@pytest.fixture
def run(tmp_path):
    make_folder(tmp_path / "run", **PLAN)
    return tmp_path / "run"


def test_from_a_run_folder_to_a_prediction(tmp_path, run, capsys):
    image, out = write_image(tmp_path / "a.nii.gz"), tmp_path / "out"
    words = ["export", str(run), "-o", str(out), "--format", "torch-export"]
    assert cli.main([*words, "--check", str(image)]) == 0
    said = capsys.readouterr().err
    assert "checked on a.nii.gz" in said
    assert "100.0000 % of the voxels equal" in said
    assert json.loads((out / "export.json").read_text())["check"]["on"] == "a.nii.gz"
    assert cli.main(["predict", str(out), str(image), "-o", str(tmp_path / "masks")]) == 0
    assert nib.load(tmp_path / "masks/a.nii.gz").shape == nib.load(image).shape
    assert cli.main([*words]) == 2
    assert "is there already" in capsys.readouterr().err


def test_without_a_case_it_says_so(tmp_path, run, capsys):
    words = ["export", str(run), "-o", str(tmp_path / "out"), "--format", "torch-export"]
    assert cli.main(words) == 0
    assert (
        "no case of the run is at hand: the export is checked on noise" in capsys.readouterr().err
    )


def test_a_case_of_the_run_is_taken(tmp_path, run, capsys):
    from medseg.artefacts import Resampled, ResampledCase
    from medseg.geometry.volume import Grid
    from medseg.io.store import write_array
    from medseg.pipelines.store import Places

    folder = run / "stages/resample/key"
    folder.mkdir(parents=True)
    grid = Grid.of((10, 9, 8), np.eye(4))
    cases = []
    for name, split in (("p1", "train"), ("p2", "test")):
        data = np.random.default_rng(0).random((1, *grid.shape), dtype=np.float32)
        image = write_array(folder / f"{name}.b2nd", data)
        cases.append(
            ResampledCase(
                id=name,
                split=split,
                fold=None,
                image=image,
                label=None,
                grid=grid,
                crop_start=(0, 0, 0),
                crop_stop=grid.shape,
                source=grid,
                annotated=(),
            )
        )
    places = Places(run=run, scratch=tmp_path / "_scratch", stage=folder)
    text = places.dump(Resampled(cases=tuple(cases)), Resampled)
    (folder / "artefact.json").write_text(text)
    words = ["export", str(run), "-o", str(tmp_path / "out"), "--format", "torch-export"]
    assert cli.main(words) == 0
    assert "checked on case p2 (test) of the run, shape (1, 10, 9, 8)" in capsys.readouterr().err


def test_the_default_is_a_copy(tmp_path, run):
    assert cli.main(["export", str(run), "-o", str(tmp_path / "copy")]) == 0
    assert sorted(p.name for p in (tmp_path / "copy").iterdir()) == [
        "model.json",
        "weights.safetensors",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--any-size"], "--any-size goes with graphs"),
        (["--check", "x.nii"], "a copied folder needs none"),
        (["--format", "onnx", "--check", "x.nii"], "--check x.nii: no such file"),
    ],
)
def test_words_that_do_not_fit(tmp_path, run, capsys, words, message):
    assert cli.main(["export", str(run), "-o", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_format_is_refused(tmp_path, run, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["export", str(run), "-o", str(tmp_path / "out"), "--format", "onyx"])
    assert caught.value.code == 2
    assert "invalid choice: 'onyx'" in capsys.readouterr().err


def test_a_check_that_fails_is_exit_code_1(tmp_path, run, monkeypatch, capsys):
    monkeypatch.setattr(
        "medseg.export.check.compare.__kwdefaults__",
        {
            "logit_tolerance": -1.0,
            "mask_tolerance": 0.999,
        },
    )
    words = ["export", str(run), "-o", str(tmp_path / "out"), "--format", "torch-export"]
    assert cli.main(words) == 1
    assert "differs from the network" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
