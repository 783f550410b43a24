"""The shipped manifests of photographs, read on real samples and on true folder layouts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from medseg.errors import CaseError, ManifestError
from medseg.geometry.volume import Volume
from medseg.io.coco import category_names, instances, panoptic
from medseg.io.encodings import first_channel
from medseg.io.load import LoadedImage, load_image, load_label
from medseg.io.picture import read_mask
from medseg.labels import IGNORE_INDEX
from medseg.manifest_file import load_manifest
from medseg.readers import read_cases
from medseg.readers.folders import other_observer

pytestmark = pytest.mark.data

CAMVID_TRAIN = (16.85, 23.26, 0.98, 31.66, 4.49, 9.72, 1.17, 1.13, 5.87, 0.64, 0.29, 3.95)
CAMVID_VAL = (9.18, 25.96, 0.56, 28.95, 8.72, 16.34, 0.89, 3.08, 1.75, 0.65, 2.22, 1.70)
"""Shares in percent as data/README.md gives them, void last."""


@pytest.fixture
def load(data_root, tmp_path):
    """Load a shipped manifest, or one that extends it; return it with its cases."""

    def read(name, text="", root=None):
        path = tmp_path / "m.yaml"
        place = data_root / "layouts" if root is None else root
        path.write_text(f"extends: {name}\n{text}")
        manifest = load_manifest(path, data_root=place, scratch=tmp_path)
        return manifest, read_cases(manifest)

    return read


def label_of(manifest, case):
    return load_label(case, manifest.scheme, load_image(case))


def names_of(manifest, label):
    """Name every pixel's class."""
    words = ["ignore", "background", *(row.name for row in manifest.labels)]
    return np.array(words)[label + 1]


def blank(shape):
    """Stand for a photograph of which only the size matters."""
    volume = Volume(data=np.zeros((3, *shape), np.uint8), affine=np.eye(3))
    return LoadedImage(volume=volume, stored=volume.grid, orientation="")


def test_camvid_has_the_class_frequencies_of_its_description(load, data_root):
    manifest, cases = load("camvid", root=data_root)
    for fold, expected in ((1, CAMVID_TRAIN), (0, CAMVID_VAL)):
        part = [case for case in cases if (case.split, case.fold) == ("train", fold)]
        counts = np.zeros(12, np.int64)
        for case in part:
            label = load_label(case, manifest.scheme, blank((360, 480)))
            counts += np.bincount(label.ravel() + 1, minlength=13)[[*range(2, 13), 0]]
        shares = 100 * counts / (len(part) * 360 * 480)
        assert np.abs(shares - expected).max() <= 0.0051, fold
    assert [c.split for c in cases].count("train") == 367 + 101
    assert not manifest.scheme.has_background


def test_whole_camvid_drives_are_held_out(load, data_root):
    _, cases = load("camvid_drives", root=data_root)
    drives = {split: {c.group for c in cases if c.split == split} for split in ("train", "test")}
    assert drives == {"train": {"0016E5"}, "test": {"0006R0", "0001TP"}}
    assert [c.split for c in cases].count("test") == 163


def test_camvid_colours_become_eleven_classes(load):
    manifest, cases = load(
        "camvid_original",
        "root: camvid_synthetic\noptions:\n  label_suffix: ''\n  parts:\n"
        + "".join(
            f"    {p}: {{file: {p}.txt, images: {p}, labels: {p}annot}}\n"
            for p in ("train", "val", "test")
        ),
    )
    found = {c.id: set(names_of(manifest, label_of(manifest, c)).ravel()) for c in cases}
    assert found["0001TP_006690"] == {"Bicyclist", "Road"}
    assert found["0016E5_07959"] == {"Pedestrian"}  # an animal and a child
    assert found["0001TP_008550"] == {"Pedestrian", "Road", "Sky"}
    assert found["0001TP_008580"] == {"Building", "Tree"}  # a bridge and an archway


def test_colours_are_no_class_values(load):
    manifest, cases = load("camvid", "root: camvid_synthetic\n")
    with pytest.raises(CaseError, match="mask is in colour") as error:
        label_of(manifest, cases[0])
    assert "encoding: rgb" in str(error.value)
    assert "#804080 (" in str(error.value)


def test_voc_palette_indices_are_read_and_the_border_is_ignored(load, data_root):
    manifest, (case,) = load("voc2012", "root: voc_real\n")
    label = label_of(manifest, case)
    stored = read_mask(data_root / "layouts/voc_real/SegmentationClass/fcn_demo.png")
    names = names_of(manifest, label)
    for value, name in {0: "background", 2: "bicycle", 15: "person", 255: "ignore"}.items():
        assert set(names[stored == value]) == {name}
    assert manifest.scheme.has_background
    assert (manifest.scheme.to_stored(label) == stored).all()
    colours = {row.name: row.color for row in manifest.labels}
    with Image.open(case.label[0].path) as image:
        palette = np.array(image.getpalette()).reshape(-1, 3)
    assert colours["person"] == "#{:02x}{:02x}{:02x}".format(*palette[15])


def test_voc_masks_in_colour(data_root, tmp_path):
    path = tmp_path / "voc.yaml"
    path.write_text(
        f"reader: voc\nroot: {data_root / 'layouts/voc_synthetic'}\noptions: {{encoding: rgb}}\n"
        'labels: {bicycle: 2}\nlabel_map: {"#000000": background, "#008000": bicycle}\n'
    )
    manifest = load_manifest(path, scratch=tmp_path)
    train, test = read_cases(manifest)
    assert [(c.id, c.split) for c in (train, test)] == [
        ("2007_000001", "train"),
        ("2007_000002", "predict"),
    ]
    assert set(names_of(manifest, label_of(manifest, train)).ravel()) == {"bicycle"}


def test_ade_zero_is_ignored_and_one_is_the_first_class(load, data_root):
    manifest, cases = load(
        "ade20k",
        "root: ade20k_challenge\noptions: {parts: {training: {images: images, labels: annotations},"
        " validation: {images: none, optional: true}}}\n",
    )
    rows = (data_root / "layouts/ade20k_challenge/objectInfo150.txt").read_text().splitlines()[1:]
    official = {int(row.split("\t")[0]): row.split("\t")[4].split(", ") for row in rows}
    assert len(cases) == 3
    for case in cases:
        label, stored = label_of(manifest, case), read_mask(case.label[0].path)
        assert ((label == IGNORE_INDEX) == (stored == 0)).all()
        assert (label[stored > 0] == stored[stored > 0]).all()  # class index = value, 1 to 150
        names = names_of(manifest, label)
        for value in set(np.unique(stored)) - {0}:
            assert set(names[stored == value]) <= set(official[value])
    assert not manifest.scheme.has_background
    assert manifest.scheme.num_classes - 1 == 150


def test_ade_full_encoding(load):
    manifest, cases = load("ade20k_full", "root: ade20k_full2020_synthetic\n")
    assert [(c.id, c.split) for c in cases] == [("1", None), ("2", "test")]
    for case in cases:  # (71, 39) is person 1831 and (15, 145) is car 401
        names = names_of(manifest, load_label(case, manifest.scheme, label_size(case)))
        assert set(names.ravel()) == {"background", "car", "person"}


def test_ade_full_encoding_of_2017(load):
    labels = "labels: {sky: 1}\nlabel_map: {0: ignore, 1: sky}\n"
    folder = "root: ade20k_full2017_synthetic\n"
    with pytest.raises(ManifestError, match="no label 'sky'"):  # a map is merged with the map below
        load("ade20k_full", folder + "label_map: {1: sky}\n")
    manifest, cases = load("ade20k_full", folder + labels.replace("{0", "{401: sky, 1831: sky, 0"))
    assert [(c.id, c.split) for c in cases] == [("1", None), ("2", "test")]
    for case in cases:
        names = names_of(manifest, load_label(case, manifest.scheme, label_size(case)))
        assert set(names.ravel()) == {"ignore", "sky"}


def label_size(case):
    """Stand for the photograph of a sample: its mask's size."""
    with Image.open(case.label[0].path) as mask:
        return blank((mask.height, mask.width))


CITY = """
root: {root}
options:
  label_suffix: {suffix}
  encoding: {encoding}
  parts:
    test: {{images: leftImg8bit/test, labels: gtFine/test, role: test}}
"""


def test_cityscapes_ids_go_to_classes_and_back_to_the_servers_ids(load):
    text = CITY.format(root="cityscapes_synthetic", suffix="_gtFine_instanceIds", encoding="index")
    manifest, cases = load("cityscapes", text)
    assert [(c.id, c.split, c.group) for c in cases] == [
        ("defaultcity_000001_000019", "test", "defaultcity"),
        ("defaultcity_000001_000031", "test", "defaultcity"),
        ("defaultcity_000001_000032", "test", "defaultcity"),
        ("defaultcity_000002_000045", None, "defaultcity"),
    ]
    scored = {row.value for row in manifest.labels}
    for case in cases:
        stored = read_mask(case.label[0].path)
        label = label_of(manifest, case)
        keep = np.isin(stored, sorted(scored))
        assert (label[~keep] == IGNORE_INDEX).all()
        assert (manifest.scheme.to_values(label)[keep] == stored[keep]).all()


def test_cityscapes_train_ids_and_label_ids_mean_the_same(load):
    text = CITY.format(root="cityscapes_synthetic", suffix="_gtFine_instanceIds", encoding="index")
    ids, _ = load("cityscapes", text)
    trained, cases = load(
        "cityscapes_trainids",
        CITY.format(
            root="cityscapes_trainids_synthetic", suffix="_gtFine_labelTrainIds", encoding="index"
        ),
    )
    of_ids, of_trained = ids.scheme.stored_values(), trained.scheme.stored_values()
    official = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    for train_id, label_id in enumerate(official):
        assert of_ids[label_id] == of_trained[train_id] == train_id + 1
    assert sorted(v for v, index in of_ids.items() if index > 0) == official
    assert (trained.scheme.to_values(np.arange(1, 20, dtype=np.int16)) == official).all()
    names = {c.id: set(names_of(trained, label_of(trained, c)).ravel()) for c in cases}
    assert names["defaultcity_000001_000031"] == {"truck", "ignore"}
    assert names["defaultcity_000001_000032"] == {"wall", "train", "ignore"}
    assert names["defaultcity_000002_000045"] == {"person", "ignore"}


def test_cityscapes_instance_ids_give_the_same_classes_as_train_ids(load):
    root = "cityscapes_trainids_synthetic"
    text = CITY.format(root=root, suffix="_gtFine_instanceIds", encoding="thousands")
    manifest, cases = load("cityscapes", text)
    names = {c.id: set(names_of(manifest, label_of(manifest, c)).ravel()) for c in cases}
    assert names["defaultcity_000001_000031"] == {"truck", "ignore"}
    assert names["defaultcity_000001_000032"] == {"train", "wall", "ignore"}


def test_cityscapes_instance_ids_taken_for_classes_name_the_remedy(load):
    root = "cityscapes_trainids_synthetic"
    text = CITY.format(root=root, suffix="_gtFine_instanceIds", encoding="index")
    manifest, cases = load("cityscapes", text)
    with pytest.raises(CaseError, match="'encoding: thousands'"):
        label_of(manifest, cases[1])


def test_kitti_instance_ids(data_root, tmp_path):
    path = tmp_path / "kitti.yaml"
    folder = data_root / "layouts/kitti_synthetic/training"
    path.write_text(
        f"reader: folders\nroot: {folder}\n"
        "options: {encoding: high_byte, parts: {all: {images: image_2, labels: instance}}}\n"
        "labels: {truck: 27, wall: 12, bicycle: 31}\n"
        "label_map: {3: ignore, 27: truck, 12: wall, 31: bicycle}\n"
    )
    manifest = load_manifest(path, scratch=tmp_path)
    first, second = read_cases(manifest)
    assert set(names_of(manifest, label_of(manifest, first)).ravel()) == {"ignore", "truck"}
    assert "wall" in names_of(manifest, label_of(manifest, second))


def test_coco_run_lengths_and_panoptic_png_draw_the_same(data_root):
    folder = data_root / "layouts/coco_panoptic"
    table = folder / "panoptic_examples.json"
    for image in ("000000142238", "000000439180"):
        with Image.open(folder / f"input_images/{image}.jpg") as photo:
            shape = (photo.height, photo.width)
        ids = panoptic(folder / f"panoptic_examples/{image}.png", table, shape)
        runs = instances(folder / "panoptic_coco_detection_format.json", f"{image}.jpg", shape)
        png, json_ = (
            np.array([found.names[v] for v in found.values.flat]) for found in (ids, runs)
        )
        drawn = png != "ignore"
        assert (png[drawn] == json_[drawn]).mean() > 0.999  # crowds aside
        assert set(json_[~drawn]) <= {"background", "ignore"}


def test_coco_panoptic_manifest_reads_the_real_sample(load, data_root):
    manifest, cases = load(
        "coco_panoptic",
        "root: coco_panoptic\noptions: {parts: {train: {file: panoptic_examples.json,"
        " images: input_images}, val: {file: none.json, optional: true}}}\n",
    )
    assert [c.id for c in cases] == ["000000142238", "000000439180"]
    table = data_root / "layouts/coco_panoptic/panoptic_examples.json"
    official = category_names(table)
    assert {row.value: row.name for row in manifest.labels} == official
    listed = json.loads(table.read_text())["annotations"]
    for case in cases:
        label = label_of(manifest, case)
        (row,) = [one for one in listed if one["file_name"] == case.label[0].path.name]
        areas: dict[str, int] = {}
        for segment in row["segments_info"]:
            if not segment["iscrowd"]:
                name = official[segment["category_id"]]
                areas[name] = areas.get(name, 0) + segment["area"]
        names, counts = np.unique(names_of(manifest, label), return_counts=True)
        found = dict(zip(names.tolist(), counts.tolist(), strict=True))
        found.pop("ignore", None)
        assert found == areas


def test_first_channel_of_the_two_channel_format_is_a_category(data_root):
    folder = data_root / "layouts/coco_panoptic"
    png = folder / "panoptic_examples/000000142238.png"
    ids = panoptic(png, folder / "panoptic_examples.json", (427, 640)).values
    classes = first_channel(folder / "panoptic_examples_2ch_format/000000142238.png")
    assert (classes[ids > 0] == ids[ids > 0]).all()


@pytest.mark.parametrize("name", ["coco_stuff_164k", "coco_stuff_10k"])
def test_coco_stuff_shift_on_a_real_annotation(load, data_root, tmp_path, name):
    """Things of the real panoptic sample, stored as COCO-Stuff does it, keep their names."""
    sample, image = data_root / "layouts/coco_panoptic", "000000142238"
    table = sample / "panoptic_examples.json"
    found = panoptic(sample / f"panoptic_examples/{image}.png", table, (427, 640)).values
    thing = (found > 0) & (found <= 90)
    root = tmp_path / {"coco_stuff_164k": "coco_stuff164k"}.get(name, "coco_stuff10k")
    if name == "coco_stuff_164k":
        for part in ("train2017", "val2017"):
            for folder in ("images", "annotations"):
                (root / folder / part).mkdir(parents=True)
            stored = np.where(thing, found - 1, 255).astype(np.uint8)
            Image.fromarray(stored).save(root / f"annotations/{part}/{part}.png")
            Image.new("RGB", (640, 427)).save(root / f"images/{part}/{part}.jpg")
    else:
        for folder in ("images", "annotations", "imageLists"):
            (root / folder).mkdir(parents=True)
        for part in ("train", "test"):
            stored = np.where(thing, found, 0).astype(np.uint8)
            savemat(root / f"annotations/{part}.mat", {"S": stored})
            Image.new("RGB", (640, 427)).save(root / f"images/{part}.jpg")
            (root / f"imageLists/{part}.txt").write_text(f"{part}\n")
    manifest, (first, second) = load(name, root=tmp_path)
    assert {first.split, second.split} == {None, "test"}
    names = names_of(manifest, label_of(manifest, first))
    official = category_names(table)
    assert thing.sum() > 1000
    assert (names[thing] == np.array([official[v] for v in found[thing]])).all()
    assert set(names[~thing]) == {"ignore"}


def test_coco_instances_and_stuff_json(data_root, tmp_path):
    for name, labels in (("coco_instances", "{a: 1, b: 2, c: 4}"), ("coco_stuff", "{a: 1, b: 2}")):
        stem = name.split("_")[1]
        path = tmp_path / f"{name}.yaml"
        folder = data_root / f"layouts/{name}_synthetic"
        parts = "".join(
            f"    {p}: {{file: annotations/{stem}_{p}.json, images: images/{p}}}\n"
            for p in ("train", "val")
        )
        path.write_text(
            f"reader: coco\nroot: {folder}\nlabels: {labels}\n"
            f"options:\n  encoding: coco_painted\n  parts:\n{parts}"
        )
        manifest = load_manifest(path, scratch=tmp_path)
        first, second = read_cases(manifest)
        for case in (first, second):
            label = label_of(manifest, case)
            assert label.shape == load_image(case).volume.grid.shape
        if name == "coco_stuff":  # runs 10, 10, 5, 10, 15 down columns of 5
            label = label_of(manifest, first)
            assert (label == 1).sum(axis=0).tolist() == [0, 0, 5, 5, 0, 5, 5, 0, 0, 0]


def test_two_observers_of_chase_agree_to_0_777(load, data_root):
    manifest, cases = load("chasedb1", root=data_root)
    dice = []
    for case in cases:
        size = blank((960, 999))
        first = load_label(case, manifest.scheme, size) == 1
        second = load_label(other_observer(case), manifest.scheme, size) == 1
        dice.append(2 * (first & second).sum() / (first.sum() + second.sum()))
    assert len(dice) == 28
    assert np.mean(dice) == pytest.approx(0.777, abs=0.0005)
    assert (min(dice), max(dice)) == pytest.approx((0.739, 0.827), abs=0.0005)
    assert len({c.group for c in cases}) == 14


def test_em_and_lung_masks_of_0_and_255(load, data_root):
    manifest, cases = load("isbi2012_em", root=data_root)
    shares = [(load_label(c, manifest.scheme, blank((512, 512))) == 1).mean() for c in cases]
    assert len(cases) == 30
    assert np.mean(shares) == pytest.approx(0.22, abs=0.005)
    manifest, cases = load("lung_xray_demo", root=data_root)
    assert len(cases) == 4
    assert all(set(np.unique(label_of(manifest, c))) == {0, 1} for c in cases)
