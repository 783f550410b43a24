import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image

from medseg.config import read_document
from medseg.errors import ConfigError, ManifestError
from medseg.io.load import load_image, load_label
from medseg.manifest_file import load_manifest
from medseg.pipelines.init import add_arguments, init, main
from medseg.readers import read_cases
from tests.readers.conftest import Files


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path / "my data")


@pytest.fixture
def look(files, tmp_path, monkeypatch):
    """Run init on the made-up folder; load what it wrote, and every case, from elsewhere."""
    monkeypatch.delenv("MEDSEG_DATA", raising=False)

    def run(folder=None, out=None):
        result = init(folder or files.root, out or tmp_path / "out")
        config = read_document(result.config)
        assert config.data["pipeline"] == ("natural_image" if result.found.picture else "volume")
        path = result.config.parent / config.data["manifest"]
        monkeypatch.chdir("/")
        manifest = load_manifest(path, scratch=tmp_path / "scratch")
        cases = read_cases(manifest)
        labels = {}
        for case in cases:
            image = load_image(case)
            assert len(image.volume.data) == len(manifest.channels)
            if case.label:
                labels[case.id] = load_label(case, manifest.scheme, image)
        return result, manifest, cases, labels

    return run


def names(manifest):
    return {label.name: label.value for label in manifest.labels}


def test_decathlon_task(files, look):
    files.image("imagesTr/a.nii.gz", "imagesTr/b.nii.gz", "imagesTs/c.nii.gz", low=-1000)
    files.label("labelsTr/a.nii.gz", "labelsTr/b.nii.gz", values=(0, 1, 3))
    result, manifest, cases, labels = look()
    assert manifest.reader == "decathlon"
    assert names(manifest) == {"label_1": 1, "label_3": 3}
    assert manifest.modality == "CT"
    assert [c.split for c in cases] == [None, None, "predict"]
    assert set(np.unique(labels["a"])) == {0, 1, 2}
    assert result.name == "my_data"
    text = result.text()
    assert "2 annotated, 1 without annotation, 3-D" in text
    assert "medseg check " in text
    assert "medseg run " in text


def test_nnunet_raw_with_regions(files, look):
    content = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3},
        "regions_class_order": [1, 2],
    }
    files.text("dataset.json", json.dumps(content))
    for name in ("p1", "p2"):
        files.image(f"imagesTr/{name}_0000.nii.gz", f"imagesTr/{name}_0001.nii.gz")
    files.label("labelsTr/p1.nii.gz", "labelsTr/p2.nii.gz", values=(0, 1, 2, 3))
    _, manifest, cases, labels = look()
    assert manifest.reader == "nnunet"
    assert [c.name for c in manifest.channels] == ["T1", "FLAIR"]
    assert names(manifest) == {"label_1": 1, "core": 2}
    assert {r.name: r.labels for r in manifest.regions} == {
        "whole": ("label_1", "core"),
        "core": ("core",),
    }
    assert (manifest.ignore_value, manifest.modality) == (3, "MR")
    assert [c.id for c in cases] == ["p1", "p2"]
    assert set(np.unique(labels["p1"])) == {-1, 0, 1, 2}


def test_nnunet_raw_without_a_description(files, look):
    files.image("imagesTr/p1_0000.nii.gz", "imagesTr/p2_0000.nii.gz")
    files.label("labelsTr/p1.nii.gz", "labelsTr/p2.nii.gz", values=(0, 7))
    _, manifest, _, _ = look()
    assert (manifest.reader, names(manifest)) == ("nnunet", {"foreground": 7})


def test_values_that_dataset_json_does_not_name_are_added(files, look):
    content = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "liver"}}
    files.text("dataset.json", json.dumps(content))
    files.image("imagesTr/a.nii.gz")
    files.label("labelsTr/a.nii.gz", values=(0, 1, 4))
    result, manifest, _, _ = look()
    assert names(manifest) == {"liver": 1, "label_4": 4}
    assert "not in dataset.json" in result.text()


@pytest.mark.parametrize(
    ("images", "labels"), [("scans", "ground truth"), ("DATA", "y"), ("one", "other")]
)
def test_two_folders_with_names_of_any_kind(files, look, images, labels):
    files.image(f"{images}/ct 001.nii.gz", f"{images}/ct 002.nii.gz", f"{images}/ct 010.nii.gz")
    files.label(f"{labels}/drawing-1.nii.gz", f"{labels}/drawing-10.nii.gz", values=(0, 2, 5))
    _, manifest, cases, _ = look()
    assert manifest.options == {"images": images, "labels": labels}
    assert [(c.id, c.split) for c in cases] == [
        ("ct_001", None),
        ("ct_002", "predict"),
        ("ct_010", None),
    ]
    assert cases[2].label[0].path.name == "drawing-10.nii.gz"
    assert names(manifest) == {"label_2": 2, "label_5": 5}


def test_one_folder_of_masks_for_each_structure(files, look):
    files.image("img/a.nii.gz", "img/b.nii.gz")
    files.label("masks/liver/a.nii.gz", "masks/liver/b.nii.gz", "masks/spleen/a.nii.gz")
    _, manifest, _, labels = look()
    assert names(manifest) == {"liver": 1, "spleen": 2}
    assert set(np.unique(labels["a"])) == {0, 2}  # equal masks: spleen over liver
    assert set(np.unique(labels["b"])) == {0, 1}


def test_folder_for_each_case(files, look):
    for name in ("p1", "p2", "p3"):
        files.image(f"{name}/{name}_scan.nii.gz")
        files.label(f"{name}/{name}_seg.nii.gz")
    _, manifest, cases, _ = look()
    assert manifest.options == {"images": "*/*_scan.nii.gz", "labels": "*/*_seg.nii.gz"}
    assert [c.id for c in cases] == ["p1_scan", "p2_scan", "p3_scan"]
    assert cases[1].label[0].path.name == "p2_seg.nii.gz"


def test_png_pairs_in_two_folders_with_a_void_value(files, look):
    files.photo("images/1.png", "images/2.png")
    files.mask("masks/1.png", "masks/2.png", values=(0, 1, 2, 255))
    result, manifest, _, labels = look()
    assert manifest.modality == "photo"
    assert [c.name for c in manifest.channels] == ["red", "green", "blue"]
    assert names(manifest) == {"label_1": 1, "label_2": 2}
    assert manifest.ignore_value == 255
    assert set(np.unique(labels["1"])) == {-1, 0, 1, 2}
    assert "2-D, 3 channel(s)" in result.text()
    assert "ignore_value" in result.text()


def test_png_pairs_side_by_side(files, look):
    for i in (1, 2, 11):
        image = np.full((4, 5), i, dtype=np.uint8)
        Image.fromarray(image).save(files.place(f"{i}.png"))
        mask = np.zeros((4, 5), dtype=np.uint8)
        mask[1] = 255
        Image.fromarray(mask).save(files.place(f"{i}-mask.png"))
    _, manifest, cases, labels = look()
    assert names(manifest) == {"foreground": 255}
    assert [c.id for c in cases] == ["1", "11", "2"]
    assert labels["11"].sum() == 5


def test_bids_derivatives(files, look):
    for sub in ("sub-01", "sub-02"):
        files.image(f"{sub}/anat/{sub}_T1w.nii.gz", f"{sub}/anat/{sub}_T2w.nii.gz")
        files.label(f"derivatives/x/{sub}/anat/{sub}_dseg.nii.gz", values=(0, 4))
    files.image("sub-01/anat/sub-01_FLAIR.nii.gz")
    result, manifest, cases, _ = look()
    assert manifest.reader == "bids"
    assert manifest.options == {"images": ["T1w", "T2w"]}
    assert [c.group for c in cases] == ["sub-01", "sub-02"]
    assert names(manifest) == {"foreground": 4}
    assert "FLAIR" in result.text()


def test_dicom_tree_with_masks_apart(files, look):
    files.series("scans/p1", "scans/p2", "scans/p3")
    files.series("labels/p1/liver", "labels/p1/tumour", "labels/p2/liver", mask=True)
    _, manifest, cases, labels = look()
    assert manifest.reader == "dicom"
    assert names(manifest) == {"liver": 1, "tumour": 2}
    assert (manifest.modality, [c.name for c in manifest.channels]) == ("CT", ["CT"])
    assert [(c.id, c.split) for c in cases] == [("p1", None), ("p2", None), ("p3", "predict")]
    assert set(np.unique(labels["p1"])) == {0, 1, 2}


def test_dicom_tree_with_masks_beside_the_series(files, look):
    for name in ("3Dircadb1.1", "3Dircadb1.2"):
        files.series(f"{name}/PATIENT_DICOM")
        files.series(f"{name}/MASKS_DICOM/liver", mask=True)
    _, manifest, cases, _ = look()
    assert manifest.options == {"images": "*/PATIENT_DICOM", "label_dir": "{case}/MASKS_DICOM"}
    assert [c.id for c in cases] == ["3Dircadb1.1", "3Dircadb1.2"]
    assert all(c.label for c in cases)


def test_dicom_tree_with_png_masks(files, look):
    files.series("1/DICOM_anon", "2/DICOM_anon")
    for case in (1, 2):
        for i in range(4):
            mask = np.zeros((6, 5), dtype=np.uint8)
            mask[i] = 255
            Image.fromarray(mask).save(files.place(f"{case}/Ground/liver_GT_{i:03d}.png"))
    _, manifest, cases, labels = look()
    assert manifest.options == {"images": "*/DICOM_anon", "label_dir": "{case}/Ground"}
    assert [c.id for c in cases] == ["1", "2"]
    assert names(manifest) == {"foreground": 1}
    assert labels["1"].sum() == 4 * 5


def test_dicom_tree_with_label_files(files, look):
    files.series("images/a", "images/b")
    files.label("labels/a.nii.gz", "labels/b.nii.gz", values=(0, 1))
    for name in "ab":  # on the series' grid, as an annotation tool writes it
        path = files.root / f"labels/{name}.nii.gz"
        data = np.asarray(nib.load(path).dataobj)
        nib.save(nib.Nifti1Image(data, np.diag([-1.0, -1, 2, 1])), path)
    _, manifest, cases, _ = look()
    assert names(manifest) == {"foreground": 1}
    assert [c.label[0].path.name for c in cases] == ["a.nii.gz", "b.nii.gz"]


def test_dicom_without_annotation_says_where_to_put_it(files, tmp_path):
    files.series("p1", "p2")
    with pytest.raises(ManifestError, match=r"p1, p2\) but no annotation.*labels/<case>"):
        init(files.root, tmp_path)


def test_nothing_recognised_lists_what_was_looked_for(files, tmp_path):
    files.text("notes.txt", "nothing")
    with pytest.raises(ManifestError) as error:
        init(files.root, tmp_path / "out")
    for word in ("Decathlon", "nnU-Net", "BIDS", "DICOM", "pairs", "table"):
        assert word in str(error.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ManifestError, match="no such folder"):
        init(tmp_path / "absent", tmp_path)


def test_folders_that_hold_no_labels_are_not_taken_for_labels(files, tmp_path):
    files.image("a/1.nii.gz", "b/1.nii.gz", low=-1000)
    with pytest.raises(ManifestError, match="no annotated data set"):
        init(files.root, tmp_path)
    (files.root / "b").rename(files.root / "masks")
    with pytest.raises(ManifestError, match="does not look like labels"):
        init(files.root, tmp_path)


def test_files_are_never_replaced_without_force(files, tmp_path):
    files.image("images/a.nii.gz")
    files.label("labels/a.nii.gz")
    first = init(files.root, tmp_path)
    first.manifest.write_text("mine")
    with pytest.raises(ConfigError, match=r"my_data_data\.yaml exist already; give --force"):
        init(files.root, tmp_path)
    assert first.manifest.read_text() == "mine"
    init(files.root, tmp_path, force=True)
    assert yaml.safe_load(first.manifest.read_text())["reader"] == "pairs"


def test_data_below_the_manifest_may_move_with_it(files, look, tmp_path):
    files.image("images/a.nii.gz")
    files.label("labels/a.nii.gz")
    result, _, _, _ = look(out=files.root)
    assert yaml.safe_load(result.manifest.read_text())["root"] == "."
    moved = tmp_path / "moved"
    shutil.move(files.root, moved)
    again = load_manifest(moved / result.manifest.name, scratch=tmp_path)
    assert len(read_cases(again)) == 1


def test_command_says_what_it_found_and_what_comes_next(files, tmp_path, capsys, monkeypatch):
    files.image("images/a.nii.gz")
    files.label("labels/a.nii.gz")
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert main(parser.parse_args([str(files.root), "--name", "liver study"])) == 0
    output = capsys.readouterr().out
    assert "medseg check liver_study.yaml" in output
    assert "medseg run liver_study.yaml" in output
    assert (tmp_path / "liver_study_data.yaml").is_file()


def test_parser_needs_no_heavy_import():
    code = (
        "import sys, medseg.pipelines.init; "
        "print([m for m in ('torch', 'mlflow', 'monai') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.data
def test_copy_of_the_real_hippocampus(data_root, look, tmp_path):
    source, copy = data_root / "hippocampus", tmp_path / "copy"
    for folder in ("imagesTr", "labelsTr"):
        (copy / folder).mkdir(parents=True)
        for path in sorted((source / folder).iterdir())[:5]:
            shutil.copyfile(path, copy / folder / path.name)
    shutil.copyfile(source / "dataset.json", copy / "dataset.json")
    _, manifest, cases, labels = look(folder=copy)
    assert manifest.reader == "decathlon"
    assert names(manifest) == {"Anterior": 1, "Posterior": 2}
    assert (manifest.modality, manifest.licence) == ("MR", "CC-BY-SA 4.0")
    assert len(cases) == 5
    assert all(set(np.unique(label)) == {0, 1, 2} for label in labels.values())
    (copy / "dataset.json").unlink()
    result = init(copy, tmp_path / "again")
    assert result.found.values == (1, 2)


@pytest.mark.data
def test_real_pictures_side_by_side(data_root, tmp_path):
    lungs = init(data_root / "lung_xray_demo", tmp_path)
    assert (lungs.found.annotated, lungs.found.values) == (4, (255,))
    retina = init(data_root / "chasedb1", tmp_path)
    assert (retina.found.annotated, retina.found.ndim, retina.found.channels) == (28, 2, 3)
    assert any("2ndHO" in note for note in retina.notes)
    membranes = init(data_root / "isbi2012_em", tmp_path)
    assert membranes.found.annotated == 30


def test_dicom_tree_with_masks_and_label_files_keeps_their_values_apart(files, look):
    files.series("scans/p1", "scans/p2")
    files.series("labels/p1/liver", mask=True)
    data = np.resize(np.array([0, 1], dtype=np.uint8), (5, 6, 4))
    grid = np.diag([-1.0, -1, 2, 1])
    nib.save(nib.Nifti1Image(data, grid), files.place("labels/p2.nii.gz"))
    files.image("scans/p3.nii.gz")
    result, manifest, _, labels = look()
    assert names(manifest) == {"label_1": 1, "liver": 2}  # the file's 1 need not be liver
    assert set(np.unique(labels["p1"])) == {0, 2}
    assert set(np.unique(labels["p2"])) == {0, 1}
    assert "p3.nii.gz" in result.text()
    assert "select" in result.text()
    assert "2 annotated case(s) are few" in result.text()
