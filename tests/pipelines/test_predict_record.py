"""Whose prediction is it: the same model skips, another one is refused."""

from __future__ import annotations

import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest

from medseg.ensemble_folder import open_model, write_ensemble_folder
from medseg.errors import ConfigError
from medseg.finished import PostprocessRule
from medseg.model_digest import model_digest
from medseg.model_folder import read_model_folder
from medseg.pipelines import cli
from medseg.pipelines.predict import predict
from medseg.pipelines.predict_record import RECORD, Maker, makers, put_prediction
from tests.inference.toys import install, make_model_folder, make_plan

PLAN = {"spacing": (1.0, 1.0, 1.0), "patch_size": (4, 4, 4)}


@pytest.fixture(autouse=True)
def _toy_network(monkeypatch):
    install(monkeypatch)


@pytest.fixture
def model(tmp_path):
    return make_model_folder(tmp_path / "run", make_plan(**PLAN), thresholds=(0.5, 0.3))


@pytest.fixture
def other(tmp_path):
    return make_model_folder(tmp_path / "other", make_plan(**PLAN), thresholds=(0.1, 0.2))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a", "b"):
        data = np.zeros((4, 5, 6), np.float32)
        data[1, 2, 3] = 1
        nib.save(nib.Nifti1Image(data, np.eye(4)), folder / f"{name}.nii.gz")
    return folder


def rows(out):
    return [json.loads(line) for line in (out / RECORD).read_text().splitlines()]


def state(out):
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.iterdir()}


def test_the_record_names_the_model_of_each_output_and_nothing_of_this_machine(
    tmp_path, model, images
):
    predict(model, images, tmp_path / "out")
    assert [row["file"] for row in rows(tmp_path / "out")] == ["a.nii.gz", "b.nii.gz"]
    assert {row["model"] for row in rows(tmp_path / "out")} == {
        model_digest(read_model_folder(model))
    }
    assert rows(tmp_path / "out")[0]["networks"] == "threshold, mean of the folds 0, 1"
    assert str(tmp_path) not in (tmp_path / "out" / RECORD).read_text()


def test_the_same_model_skips_also_from_a_copy(tmp_path, model, images, caplog):
    out = tmp_path / "out"
    predict(model, images, out)
    shutil.copytree(model, tmp_path / "copy")
    caplog.clear()
    assert len(predict(tmp_path / "copy", images, out).skipped) == 2
    assert "without knowing" not in caplog.text


@pytest.mark.parametrize("how", ["weights", "folds", "rules", "inference"])
def test_another_model_is_refused_and_nothing_is_written(
    tmp_path, model, other, images, how, capsys
):
    out = tmp_path / "out"
    predict(model, images, out)
    before = state(out)
    line = ["predict", str(other if how == "weights" else model), str(images), "-o", str(out)]
    if how == "folds":
        line += ["--folds", "1"]
    if how in ("rules", "inference"):
        text = json.loads((model / "model.json").read_text())
        if how == "inference":
            text["inference"]["mirror"] = True
        else:
            text["postprocessing"] = [{"structure": "bright", "keep_largest": True}]
        (model / "model.json").write_text(json.dumps(text))
    names = tmp_path / "names.csv"
    assert cli.main([*line, "--names", str(names)]) == 2
    message = capsys.readouterr().err
    assert "2 outputs are there already, made by another model" in message
    assert "-o" in message
    assert "--overwrite" in message
    assert state(out) == before
    assert not names.exists()


def test_overwrite_makes_them_anew_and_the_new_model_owns_them(tmp_path, model, other, images):
    out = tmp_path / "out"
    predict(model, images, out)
    assert len(predict(other, images, out, overwrite=True).written) == 2
    assert len(predict(other, images, out).skipped) == 2
    with pytest.raises(ConfigError, match="another model"):
        predict(model, images, out)


def test_a_new_case_goes_beside_those_of_another_model(tmp_path, model, other, images):
    predict(model, images / "a.nii.gz", tmp_path / "out")
    assert len(predict(other, images / "b.nii.gz", tmp_path / "out").written) == 1
    with pytest.raises(ConfigError, match="one output is there already"):
        predict(other, images, tmp_path / "out")


@pytest.mark.parametrize("how", ["no record", "corrected by hand", "a line cut short"])
def test_what_nobody_knows_the_model_of_is_kept_aloud(tmp_path, model, other, images, how, caplog):
    out = tmp_path / "out"
    predict(model, images / "a.nii.gz", out)
    if how == "no record":
        (out / RECORD).unlink()
    elif how == "corrected by hand":
        (out / "a.nii.gz").write_bytes(b"mine")
    else:
        (out / RECORD).write_text((out / RECORD).read_text()[:40])
    assert len(predict(other, images / "a.nii.gz", out).skipped) == 1
    assert "1 kept without knowing which model made it" in caplog.text


def test_a_kill_between_line_and_rename_leaves_no_false_record(tmp_path):
    one, two = Maker(model="1", networks="one"), Maker(model="2", networks="two")
    aside, target = tmp_path / "aside", tmp_path / "a.nii.gz"
    aside.write_bytes(b"first")
    put_prediction(aside, target, one)
    os.utime(target, (1000, 1000))
    assert makers(tmp_path, [target]) == {target: None}  # its time is another one: not known
    aside.write_bytes(b"first")
    put_prediction(aside, target, one)
    aside.write_bytes(b"the second")
    line = {"file": target.name, "model": "2", "networks": "two", "size": 10, "changed": 5}
    with (tmp_path / RECORD).open("a") as stream:
        stream.write(json.dumps(line) + "\n")  # then the process was killed
    assert makers(tmp_path, [target]) == {target: one}
    put_prediction(aside, target, two)
    assert makers(tmp_path, [target, tmp_path / "b.nii.gz"]) == {target: two}


def test_a_folder_of_an_earlier_version_is_known_by_its_weights(tmp_path, model, other, images):
    for folder in (model, other):
        text = json.loads((folder / "model.json").read_text())
        for member in text["members"]:
            assert len(member.pop("digest")) == 32
        (folder / "model.json").write_text(json.dumps(text))
    first = model_digest(read_model_folder(model))
    assert first != model_digest(read_model_folder(other))
    assert first == model_digest(read_model_folder(shutil.copytree(model, tmp_path / "copy")))


def test_ensembles_differ_by_parts_rules_and_folds(tmp_path, model, other):
    first, second = read_model_folder(model), read_model_folder(other)
    rule = (PostprocessRule(structure="bright", keep_largest=True),)
    made = [
        write_ensemble_folder(tmp_path / "x", [("p", first), ("q", second)], ()),
        write_ensemble_folder(tmp_path / "y", [("p", first), ("q", second)], rule),
        write_ensemble_folder(tmp_path / "z", [("p", first), ("q", first)], ()),
    ]
    opened = [open_model(folder) for folder in made]
    assert len({model_digest(one) for one in (*opened, opened[0].with_folds([1]))}) == 4


@pytest.mark.parametrize("text", ["8", "lots", "0GB"])
def test_memory_that_is_no_size_is_refused(tmp_path, model, images, text, capsys):
    line = ["predict", str(model), str(images), "-o", str(tmp_path / "out"), "--memory", text]
    assert cli.main(line) == 2
    assert f"--memory is '{text}'; write a size such as 8GB" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_memory_limits_the_prediction(tmp_path, model, images):
    line = ["predict", str(model), str(images), "-o", str(tmp_path / "out"), "--device", "cpu"]
    assert cli.main([*line, "--memory", "1MB"]) == 3
    assert cli.main([*line, "--memory", "900GB"]) == 0
