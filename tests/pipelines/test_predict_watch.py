from __future__ import annotations

import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import ConfigError
from medseg.export.load import load_predictor
from medseg.geometry.volume import Volume
from medseg.model_folder import read_model_folder
from medseg.phantom.dicom_files import write_dicom_series
from medseg.pipelines import cli
from medseg.pipelines.predict_record import RECORD
from medseg.pipelines.predict_watch import FAILURES, Watcher, parse_every, watch
from tests.inference.toys import install, make_model_folder, make_plan


@pytest.fixture(autouse=True)
def _toy_network(monkeypatch):
    install(monkeypatch)


@pytest.fixture
def model(tmp_path):
    plan = make_plan(spacing=(1.0, 1.0, 1.0), patch_size=(4, 4, 4))
    return read_model_folder(make_model_folder(tmp_path / "run", plan))


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in", tmp_path / "out"


class Silent:
    def advance(self, amount=1.0, *, note=""):
        pass


def put(path, value=1.0):
    data = np.zeros((4, 5, 6), np.float32)
    data[1, 2, 3] = value
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)


def run(model, source, out, *between):
    """Watch; after each look one of ``between`` happens, then Ctrl-C."""
    events = iter(between)

    def sleep(seconds):
        assert seconds == 7
        event = next(events, None)
        if event is None:
            raise KeyboardInterrupt
        event()

    with pytest.raises(KeyboardInterrupt):
        watch(
            model, load_predictor(model, "cpu"), source, out, every_s=7, bar=Silent(), sleep=sleep
        )
    return sorted(p.name for p in out.iterdir() if p.name != RECORD)


def nothing():
    pass


def failures(out):
    return json.loads((out / FAILURES).read_text())


def test_what_arrives_is_predicted_once_it_is_whole(model, folders):
    source, out = folders
    seen = []

    def grow():
        seen.append(sorted(p.name for p in out.iterdir()))
        put(source / "b.nii.gz", 2.0)

    put(source / "a.nii.gz")
    (source / "b.nii.gz").write_bytes(b"the first half")
    written = run(model, source, out, grow, nothing, nothing, nothing)
    assert seen == [[]]  # one look is not enough to know that a file is whole
    assert written == ["a.nii.gz", "b.nii.gz"]
    assert not (out / FAILURES).exists()  # b was never tried while it grew
    assert np.argwhere(nib.load(out / "b.nii.gz").get_fdata()).tolist() == [[1, 2, 3]]


def test_what_has_an_output_is_not_repeated_after_a_restart(model, folders):
    source, out = folders
    put(source / "a.nii.gz")
    run(model, source, out, nothing)
    (out / "a.nii.gz").write_bytes(b"mine")
    put(source / "b.nii.gz")
    assert run(model, source, out, nothing) == ["a.nii.gz", "b.nii.gz"]
    assert (out / "a.nii.gz").read_bytes() == b"mine"


def test_a_bad_file_is_tried_again_only_when_it_changes(model, folders, caplog):
    source, out = folders
    (source / "bad.nii.gz").write_bytes(b"no image")
    put(source / "good.nii.gz")
    assert run(model, source, out, nothing, nothing, nothing) == ["good.nii.gz", FAILURES]
    assert "case bad" in failures(out)["bad"]["reason"]
    told = [m for m in caplog.messages if m.startswith("set aside")]
    assert len(told) == 1
    again = Watcher(source, out, ["image"], 3)
    again.look()
    assert again.look() == []  # a new process knows it as well
    put(source / "bad.nii.gz")
    assert "bad.nii.gz" in run(model, source, out, nothing)
    assert failures(out) == {}


def test_a_case_that_lacks_a_channel_waits_for_it(tmp_path, folders):
    source, out = folders
    plan = make_plan(spacing=(1.0,) * 3, patch_size=(4, 4, 4), channels=("flair", "t1"))
    model = read_model_folder(make_model_folder(tmp_path / "two", plan))
    put(source / "p_flair.nii.gz")
    told = []

    def arrive():
        told.append(failures(out)["p"]["reason"])
        put(source / "p_t1.nii.gz")

    written = run(model, source, out, nothing, arrive, nothing, nothing)
    assert "p_t1" in told[0]
    assert "p.nii.gz" in written
    assert failures(out) == {}


def test_dicom_series_in_folders(model, folders):
    source, out = folders
    volume = Volume(data=np.zeros((1, 6, 5, 4), np.int16), affine=np.diag([-1.0, -1, 1, 1]))
    write_dicom_series(source / "s1", volume, patient="p")
    late = next((source / "s1").iterdir())
    shutil.move(late, folders[0].parent / "late.dcm")

    def last_slice():
        assert not any(out.iterdir())
        shutil.move(folders[0].parent / "late.dcm", late)

    assert run(model, source, out, last_slice, nothing, nothing) == ["s1.nii.gz"]
    assert nib.load(out / "s1.nii.gz").shape == (6, 5, 4)


def test_two_files_of_one_name_are_not_guessed_at(model, folders):
    source, out = folders
    put(source / "a.nii.gz")
    put(source / "a.nii")
    assert run(model, source, out, nothing) == [FAILURES]
    assert "one name" in failures(out)["a"]["reason"]


def test_out_inside_the_folder_is_no_input(model, folders):
    source, _ = folders
    put(source / "a.nii.gz")
    out = source / "masks"
    assert run(model, source, out, nothing, nothing, nothing) == ["a.nii.gz"]


def test_folders_that_cannot_be_watched(model, folders):
    source, out = folders
    predictor = load_predictor(model, "cpu")
    with pytest.raises(ConfigError, match="is the folder that is watched"):
        watch(model, predictor, source, source, every_s=1, bar=Silent())
    with pytest.raises(ConfigError, match="needs one folder"):
        watch(model, predictor, source / "no", out, every_s=1, bar=Silent())


def test_the_command_ends_with_130(model, folders, monkeypatch, capsys):
    source, out = folders
    put(source / "a.nii.gz")
    sleeps = []

    def sleep(seconds):
        sleeps.append(seconds)
        if len(sleeps) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("medseg.pipelines.predict_watch.watch.__kwdefaults__", {"sleep": sleep})
    words = ["predict", str(model.folder), str(source), "-o", str(out), "--device", "cpu"]
    assert cli.main([*words, "--watch", "--every", "0.5s"]) == 130
    assert sleeps == [0.5, 0.5]
    assert (out / "a.nii.gz").is_file()
    assert "interrupted" in capsys.readouterr().err
    assert cli.main([*words, "--watch", "--overwrite"]) == 2
    assert cli.main([*words, "--watch", "--every", "soon"]) == 2


@pytest.mark.parametrize("text", ["0s", "-1", "soon", "", "nan", "inf"])
def test_times_that_are_none(text):
    with pytest.raises(ConfigError, match="--every"):
        parse_every(text)


def test_a_touched_file_counts_as_changed(folders):
    from medseg.pipelines.predict_watch import signature

    source, _ = folders
    put(source / "a.nii.gz")
    before = signature(source)
    os.utime(source / "a.nii.gz", (1, 1))
    assert signature(source) != before
    assert signature(source / "missing") == ()


def test_what_another_model_made_is_refused_before_anything_is_written(model, folders, tmp_path):
    source, out = folders
    put(source / "a.nii.gz")
    run(model, source, out, nothing)
    plan = make_plan(spacing=(1.0, 1.0, 1.0), patch_size=(4, 4, 4))
    other = read_model_folder(make_model_folder(tmp_path / "other", plan, thresholds=(0.2,)))
    before = (out / RECORD).read_bytes()
    with pytest.raises(ConfigError, match=r"another model .* -o, .*--overwrite"):
        watch(other, load_predictor(other, "cpu"), source, out, every_s=1, bar=Silent())
    assert (out / RECORD).read_bytes() == before
    assert run(model, source, out, nothing) == ["a.nii.gz"]
