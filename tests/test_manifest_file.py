import logging
import sys
from pathlib import Path

import pytest

from medseg.config import read_document
from medseg.errors import ManifestError
from medseg.manifest_file import FirstOf, load_manifest, read_manifest_file
from medseg.readers import READERS, read_cases
from medseg.shipped import list_shipped, shipped

GOOD = """\
reader: decathlon
root: liver
labels: {liver: 1, tumour: 2}
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Write a manifest and load it; the data root is ``tmp_path / "data"``."""
    monkeypatch.delenv("MEDSEG_DATA", raising=False)

    def write_and_load(text, **arguments):
        path = tmp_path / "m.yaml"
        path.write_text(text)
        arguments = {"data_root": tmp_path / "data", "scratch": tmp_path / "scratch", **arguments}
        return load_manifest(path, **arguments)

    (tmp_path / "data" / "liver").mkdir(parents=True)
    return write_and_load


def problems(load, text):
    with pytest.raises(ManifestError) as error:
        load(text)
    return [line.split("m.yaml:", 1)[1] for line in str(error.value).splitlines()]


@pytest.mark.parametrize("name", list_shipped("data_manifests"))
def test_shipped_manifest_is_sound_and_tells_its_story(name):
    document = read_document(name, kind="data_manifests", error=ManifestError)
    head = shipped("data_manifests", name).read_text()
    for word in ("# Get it ", "# Licence ", "# Cite "):
        assert word in head
    if "first_of" in document.data:
        assert set(FirstOf(**document.data).first_of) <= set(list_shipped("data_manifests"))
        return
    written = read_manifest_file(document)
    assert written.reader in READERS
    assert written.licence != "unknown"
    assert written.citation


def test_every_shipped_manifest_is_there():
    assert {
        "ct_abdomen",
        "ct_liver",
        "msd_task03_liver",
        "msd_task04_hippocampus",
        "phantom_ct",
    } <= set(list_shipped("data_manifests"))


def test_short_forms_and_long_forms_say_the_same(load):
    short = load(
        "reader: decathlon\nroot: liver\nchannels: [T1, FLAIR]\nlabels: {core: 1, oedema: 2}\n"
        "regions: {whole: [core, oedema], core: [core]}\n"
    )
    long = load(
        "reader: decathlon\nroot: liver\nchannels: [{name: T1}, {name: FLAIR}]\n"
        "labels:\n  - {name: core, value: 1}\n  - {value: 2, name: oedema}\n"
        "regions:\n  - {name: whole, labels: [core, oedema]}\n  - {name: core, labels: [core]}\n"
    )
    assert short == long
    assert short.scheme.activation == "sigmoid"
    assert short.name == "m"


def test_all_mistakes_come_at_once_with_their_place(load):
    found = problems(
        load,
        "reader: decathlon\n"
        "root: liver\n"
        "labels: {liver: 1, background: 0, tumour: 1}\n"
        "regions: {all: [liver, tumor]}\n"
        "ignore_value: 1\n"
        "mirror_axes: [0, 3]\n"
        "channels: [{name: CT, normalization: z_score}]\n"
        "splits: {test: 1.5, folds: 1}\n",
    )
    assert found == [
        "3:20: labels.1.value: 0 is background and is not listed; delete it",
        "3:35: labels.2.value: 1 is also the value of 'liver'",
        "4:11: regions.0.labels: no label 'tumor'; did you mean 'tumour'?",
        "5:1: ignore_value: 1 is the value of label 'liver'",
        "6:1: mirror_axes: no axis 3; axes are 0, 1 and 2",
        "7:23: channels.0.normalization: no 'z_score'; did you mean 'zscore'?",
        "8:10: splits.test: should be a share from 0 to below 1; got 1.5",
        "8:21: splits.folds: should be 2 or more; got 1",
    ]


def test_names_twice_and_looks(load):
    found = problems(
        load,
        "reader: decathlon\nroot: liver\nchannels: [CT, CT]\n"
        "labels:\n"
        "  - {name: a, value: 1, color: red}\n"
        "  - {name: a, value: -2, nsd_tolerance_mm: 0}\n",
    )
    texts = "\n".join(found)
    assert "labels.1.name: 'a' is there twice" in texts
    assert "labels.1.value: should be 1 or more; got -2" in texts
    assert "labels.0.color: should be like '#e69f00'; got 'red'" in texts
    assert "labels.1.nsd_tolerance_mm: should be above 0; got 0.0" in texts
    assert "channels.1: 'CT' is there twice" in texts


def test_unknown_reader_option_and_key_name_the_nearest(load):
    assert problems(load, GOOD.replace("decathlon", "decatlon")) == [
        "1:1: reader: no reader is named 'decatlon'; did you mean 'decathlon'?"
    ]
    assert problems(load, GOOD + "options: {unlabeled: false}\nmodalty: CT\n") == [
        "5:1: modalty: no such key; did you mean 'modality'?",
        "4:11: options.unlabeled: no such key; did you mean 'unlabelled'?",
    ]


def test_option_of_the_wrong_kind_is_named(load):
    text = "reader: phantom\nlabels: {liver: 1}\noptions:\n  cases: many\n"
    (line,) = problems(load, text)
    assert line.startswith("4:3: options.cases: ")
    assert "integer" in line


def test_labels_are_needed(load):
    (line,) = problems(load, "reader: dicom\nroot: liver\n")
    assert "labels: is missing; give value and name" in line


def test_labels_may_come_from_dataset_json(load, tmp_path):
    (tmp_path / "data/liver/dataset.json").write_text(
        '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "ignore": 2}}'
    )
    manifest = load("reader: nnunet\nroot: liver\n")
    assert [(label.name, label.value) for label in manifest.labels] == [("liver", 1)]
    assert (manifest.ignore_value, manifest.modality) == (2, "CT")
    (tmp_path / "data/liver/dataset.json").unlink()
    with pytest.raises(ManifestError, match=r"labels: is missing, and .*dataset\.json"):
        load("reader: nnunet\nroot: liver\n")


def test_root_is_the_first_candidate_that_exists(load, tmp_path):
    text = GOOD.replace("root: liver", "root: [Task03_Liver, liver]")
    assert load(text).root == tmp_path / "data" / "liver"
    (tmp_path / "data" / "Task03_Liver").mkdir()
    assert load(text).root == tmp_path / "data" / "Task03_Liver"


def test_root_may_be_relative_to_the_file(load, tmp_path):
    (tmp_path / "beside").mkdir()
    assert load(GOOD.replace("root: liver", "root: beside")).root == tmp_path / "beside"
    assert load(GOOD.replace("root: liver", "root: .")).root.samefile(tmp_path)
    absolute = GOOD.replace("root: liver", f"root: {tmp_path / 'beside'}")
    assert load(absolute).root == tmp_path / "beside"


def test_data_root_comes_from_argument_then_environment_then_here(load, tmp_path, monkeypatch):
    for name in ("given", "named"):
        (tmp_path / name / "liver").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert load(GOOD, data_root=None).root.resolve() == tmp_path / "data" / "liver"
    monkeypatch.setenv("MEDSEG_DATA", str(tmp_path / "named"))
    assert load(GOOD, data_root=None).root == tmp_path / "named" / "liver"
    assert load(GOOD, data_root=tmp_path / "given").root == tmp_path / "given" / "liver"
    itself = tmp_path / "given" / "liver"
    assert load(GOOD, data_root=itself).root == itself  # named in place of the folder above it


def test_missing_data_says_where_it_looked_and_how_to_point_at_it(load, tmp_path):
    text = GOOD.replace("root: liver", "root: [A, B]") + "url: http://example.org\n"
    with pytest.raises(ManifestError) as error:
        load(text)
    message = str(error.value)
    assert "m.yaml:2:1: root: the data of 'm' is not there" in message
    for part in (tmp_path / "data" / "A", tmp_path / "B", "--data-root", "MEDSEG_DATA"):
        assert str(part) in message
    assert "http://example.org" in message


def test_first_of_takes_real_data_before_the_phantom(load, tmp_path, caplog):
    (tmp_path / "real.yaml").write_text(GOOD)
    text = "first_of: [real, phantom_ct]\n".replace("real,", "real.yaml,")
    with caplog.at_level(logging.INFO):
        manifest = load(text)
    assert (manifest.name, manifest.synthetic) == ("real", False)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_first_of_falls_to_the_phantom_loudly(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        manifest = load_manifest("ct_liver", data_root=tmp_path, scratch=tmp_path / "s")
    assert (manifest.name, manifest.synthetic) == ("phantom_ct", True)
    assert manifest.root == tmp_path / "s" / "phantom_ct"
    assert "SYNTHETIC" in caplog.text
    assert "Task03_Liver" in caplog.text


def test_first_of_without_any_data_lists_all_places(load, tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(GOOD.replace("root: liver", f"root: {name}"))
    with pytest.raises(ManifestError) as error:
        load("first_of: [one.yaml, two.yaml]\n")
    assert str(tmp_path / "data" / "one") in str(error.value)
    assert str(tmp_path / "data" / "two") in str(error.value)


def test_mistake_in_an_alternative_is_no_reason_to_pass_it_over(load, tmp_path):
    (tmp_path / "one.yaml").write_text(GOOD.replace("tumour: 2", "tumour: 1"))
    with pytest.raises(ManifestError, match="also the value of 'liver'"):
        load("first_of: [one.yaml, phantom_ct]\n")


def test_unknown_name_gives_the_nearest(tmp_path):
    with pytest.raises(ManifestError, match="did you mean 'ct_liver'"):
        load_manifest("ct_livr", scratch=tmp_path)


def test_split_file_is_found_beside_the_manifest(load, tmp_path):
    (tmp_path / "splits.csv").write_text("case,split,fold\n")
    manifest = load(GOOD + "splits: {file: splits.csv}\n")
    assert manifest.splits.file == tmp_path / "splits.csv"


def test_loading_needs_no_torch(tmp_path):
    import subprocess

    code = (
        "import sys; from pathlib import Path; from medseg.manifest_file import load_manifest; "
        "load_manifest('phantom_ct', scratch=Path('.')); "
        "print([m for m in ('torch', 'mlflow', 'monai') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.data
def test_real_abdominal_cts_are_listed(data_root, tmp_path):
    manifest = load_manifest("ct_abdomen", data_root=data_root, scratch=tmp_path)
    cases = read_cases(manifest)
    assert [c.id for c in cases] == ["chaos_ct3", "ircad17", "ts_ct", "ts_ct_sm", "ts_dicom20"]
    groups = {c.id: c.group for c in cases}
    assert groups["ts_ct"] == groups["ts_ct_sm"] is not None
    assert cases[4].label[0].select == {"liver": (5,)}


@pytest.mark.data
def test_real_hippocampus_is_listed(data_root, tmp_path):
    manifest = load_manifest("msd_task04_hippocampus", data_root=data_root, scratch=tmp_path)
    cases = read_cases(manifest)
    assert len(cases) == 209
    assert [c.id for c in cases if c.split == "predict"] == ["hippocampus_118"]
