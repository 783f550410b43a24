"""Shipped manifests on files made in the published form of data sets that are not at hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image
from scipy.io import savemat

from medseg.errors import CaseError, ManifestError
from medseg.io.load import load_image, load_label
from medseg.manifest_file import load_manifest
from medseg.readers import read_cases
from medseg.readers.folders import other_observer


@pytest.fixture
def read(tmp_path):
    """Load a shipped manifest on what was made; return it and its cases by id."""

    def load(name):
        manifest = load_manifest(name, data_root=tmp_path, scratch=tmp_path / "scratch")
        return manifest, {case.id: case for case in read_cases(manifest)}

    return load


def names_of(manifest, case):
    """Name every pixel's class, as nested lists."""
    label = load_label(case, manifest.scheme, load_image(case))
    words = ["ignore", "background", *(row.name for row in manifest.labels)]
    return np.array(words)[label + 1].tolist()


def sixteen_bits(path: Path, bands: np.ndarray) -> None:
    """Write a PNG of three 16-bit bands, as SYNTHIA's masks are."""
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(bands.astype(np.uint16), isVector=True), str(path)
    )


def test_synthia_class_is_the_first_of_three_16_bit_bands(files, read):
    files.photo("RAND_CITYSCAPES/RGB/0000000.png", "RAND_CITYSCAPES/RGB/0000001.png")
    bands = np.zeros((6, 7, 3))
    bands[..., 0] = 3
    bands[0, :5, 0] = (0, 1, 10, 17, 22)
    bands[2:, :, 1] = 40_000  # instances: a reader of 8 bits would see other numbers
    for name in ("0000000", "0000001"):
        sixteen_bits(files.place(f"RAND_CITYSCAPES/GT/LABELS/{name}.png"), bands)
    manifest, cases = read("synthia")
    assert list(cases) == ["0000000", "0000001"]
    names = names_of(manifest, cases["0000000"])
    assert names[0] == ["ignore", "sky", "person", "rider", "ignore", "road", "road"]
    assert names[5] == ["road"] * 7
    assert not manifest.scheme.has_background
    bands[0, 0, 0] = 23
    sixteen_bits(files.place("RAND_CITYSCAPES/GT/LABELS/0000000.png"), bands)
    with pytest.raises(CaseError, match="value 23 is not in the label map"):
        names_of(manifest, cases["0000000"])


def test_bsds_boundaries_are_what_half_of_the_people_drew(files, read):
    for part, name in (("train", "8049"), ("val", "101085"), ("test", "2018")):
        files.photo(f"BSR/BSDS500/data/images/{part}/{name}.jpg")
        files.text(f"BSR/BSDS500/data/images/{part}/Thumbs.db", "as released")
        drawn = np.empty((1, 4), dtype=object)
        for person in range(4):
            boundary = np.zeros((6, 7), np.uint8)
            boundary[0] = 1
            boundary[1] = person < 2
            boundary[2] = person < 1
            drawn[0, person] = {
                "Segmentation": np.ones((6, 7), np.uint16),
                "Boundaries": boundary,
            }
        path = files.place(f"BSR/BSDS500/data/groundTruth/{part}/{name}.mat")
        savemat(path, {"groundTruth": drawn})
    manifest, cases = read("bsds500")
    places = {name: (case.split, case.fold) for name, case in cases.items()}
    assert places == {"8049": ("train", 1), "101085": ("train", 0), "2018": ("test", None)}
    rows = [row[0] for row in names_of(manifest, cases["2018"])]
    assert rows == ["boundary", "boundary", "ignore", "background", "background", "background"]


def test_deepfashion2_items_are_painted_smaller_on_larger(files, read):
    def item(name, number, x0, x1):
        box = [x0, 0, x1, 0, x1, 6, x0, 6]
        return {
            "category_name": name,
            "category_id": number,
            "style": 1,
            "bounding_box": [x0, 0, x1, 6],
            "segmentation": [box],
        }

    for part, name in (("train", "000001"), ("validation", "000002")):
        files.photo(f"deepfashion2/{part}/image/{name}.jpg")
        annotation = {
            "source": "user",
            "pair_id": 1,
            "item2": item("trousers", 8, 0, 6),
            "item1": item("short sleeve top", 1, 1, 3),
        }
        files.text(f"deepfashion2/{part}/annos/{name}.json", json.dumps(annotation))
    manifest, cases = read("deepfashion2")
    assert {name: case.split for name, case in cases.items()} == {"000001": None, "000002": "test"}
    top, trousers = ["short sleeve top"], ["trousers"]
    for case in cases.values():
        assert names_of(manifest, case)[3] == trousers + 2 * top + 3 * trousers + ["background"]
    assert [row.value for row in manifest.labels] == list(range(1, 14))


@pytest.mark.parametrize("person", [1, 255])
def test_portraits_are_one_person_before_background(files, read, person):
    files.photo("portraits/images/00001.jpg", "portraits/images/00002.jpg")
    masks = [f"portraits/masks/0000{i}.png" for i in (1, 2)]
    files.mask(*masks, values=(0, person))
    manifest, cases = read("portraits")
    names = names_of(manifest, cases["00002"])
    assert names[0] == ["background", "person"] * 3 + ["background"]
    files.place(masks[1]).unlink()
    with pytest.raises(ManifestError, match=r"1 image\(s\) without annotation: 00002\.jpg"):
        read("portraits")


def gif(path: Path, vessel: slice) -> None:
    mask = np.zeros((6, 7), np.uint8)
    mask[vessel] = 255
    Image.fromarray(mask).save(path)


def test_drive_gifs_and_its_two_observers(files, read):
    for number in range(1, 21):
        name = f"{number:02d}"
        files.photo(f"DRIVE/test/images/{name}_test.tif")
        gif(files.place(f"DRIVE/test/1st_manual/{name}_manual1.gif"), slice(0, 4))
        gif(files.place(f"DRIVE/test/2nd_manual/{name}_manual2.gif"), slice(2, 4))
    for number in range(21, 41):
        files.photo(f"DRIVE/training/images/{number}_training.tif")
        gif(files.place(f"DRIVE/training/1st_manual/{number}_manual1.gif"), slice(0, 4))
    manifest, cases = read("drive")
    assert [case.split for case in cases.values()] == ["test"] * 20 + [None] * 20
    first = np.array(names_of(manifest, cases["01"])) == "vessel"
    second = np.array(names_of(manifest, other_observer(cases["01"]))) == "vessel"
    assert first[:, 0].tolist() == [True] * 4 + [False] * 2
    assert 2 * (first & second).sum() / (first.sum() + second.sum()) == pytest.approx(2 / 3)
    with pytest.raises(ManifestError, match="case 21: has no second observer"):
        other_observer(cases["21"])
    files.place("DRIVE/test/2nd_manual/07_manual2.gif").unlink()
    with pytest.raises(ManifestError, match=r"1 file\(s\) of the table are not there:\n  07: "):
        read("drive")


def ade(path: Path, classes: list[int]) -> None:
    """Write classes as ADE20K does: R / 10 * 256 + G; R's rest is parts, B instances."""
    pixels = np.zeros((6, 7, 3), np.uint8)
    for column, number in enumerate(classes):
        pixels[:, column] = (number // 256 * 10 + 3, number % 256, column + 1)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("root", "folder"),
    [
        ("ADE20K_2016_07_26/images", "a/abbey"),  # 2017: by the scene's first letter
        ("ADE20K_2021_17_01/images/ADE", "urban/street"),
    ],
)
def test_full_ade20k_of_both_releases(files, read, root, folder):
    for part, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        files.photo(f"{root}/{part}/{folder}/{name}.jpg")
        ade(
            files.place(f"{root}/{part}/{folder}/{name}_seg.png"), [0, 401, 1831, 145, 401, 0, 3687]
        )
        files.mask(f"{root}/{part}/{folder}/{name}_parts_1.png")
        files.mask(f"{root}/{part}/{folder}/{name}/instance_000_{name}.png")
        files.text(f"{root}/{part}/{folder}/{name}.json", "{}")
    manifest, cases = read("ade20k_full")
    assert [case.split for case in cases.values()] == [None, "test"]
    for case in cases.values():
        row = names_of(manifest, case)[0]
        assert row == ["background", "car", "person", "background", "car", *["background"] * 2]


def test_sbd_mat_files_join_voc_and_have_no_void_border(files, read):
    voc = "VOCdevkit/VOC2012"
    sbd = f"{voc}/SBD/benchmark_RELEASE/dataset"
    lists = f"{voc}/ImageSets/Segmentation"
    files.photo(*(f"{voc}/JPEGImages/{name}.jpg" for name in ("2007_t", "2007_v", "2008_s")))
    files.mask(*(f"{voc}/SegmentationClass/2007_{n}.png" for n in "tv"), values=(0, 15, 255))
    files.text(f"{lists}/train.txt", "2007_t\n")
    files.text(f"{lists}/val.txt", "2007_v\n")
    classes = np.tile(np.array([0, 2, 15, 20, 0, 0, 0], np.uint8), (6, 1))
    for name in ("2007_v", "2008_s"):  # SBD annotates images of VOC's val too
        savemat(files.place(f"{sbd}/cls/{name}.mat"), {"GTcls": {"Segmentation": classes}})
    files.text(f"{sbd}/train.txt", "2008_s\n2007_v\n")
    files.text(f"{sbd}/val.txt", "")
    manifest, cases = read("voc2012_aug")
    assert {name: case.split for name, case in cases.items()} == {
        "2007_t": None,
        "2008_s": None,
        "2007_v": "test",
    }
    row = names_of(manifest, cases["2008_s"])[0]
    assert row == ["background", "bicycle", "person", "tvmonitor", *["background"] * 3]
    assert names_of(manifest, cases["2007_v"])[0][:3] == ["background", "person", "ignore"]


def test_coco_panoptic_segments_crowds_and_unlabelled_pixels(files, read):
    for part, number in (("train2017", 9), ("val2017", 139)):
        name = f"{number:012d}"
        files.photo(f"coco/{part}/{name}.jpg")
        pixels = np.zeros((6, 7, 3), np.uint8)
        pixels[:, 1] = (5, 0, 0)
        pixels[:, 2] = (5, 1, 0)  # 261
        pixels[:, 3] = (0, 0, 1)  # 65536, a crowd
        png = files.place(f"coco/annotations/panoptic_{part}/{name}.png")
        Image.fromarray(pixels).save(png)
        segments = [
            {"id": 5, "category_id": 1, "iscrowd": 0},
            {"id": 261, "category_id": 200, "iscrowd": 0},
            {"id": 65536, "category_id": 1, "iscrowd": 1},
        ]
        image = {"id": number, "file_name": f"{name}.jpg", "height": 6, "width": 7}
        content = {
            "images": [image],
            "categories": [{"id": 1, "name": "person"}, {"id": 200, "name": "rug-merged"}],
            "annotations": [
                {"image_id": number, "file_name": f"{name}.png", "segments_info": segments}
            ],
        }
        files.text(f"coco/annotations/panoptic_{part}.json", json.dumps(content))
    manifest, cases = read("coco_panoptic")
    for case in cases.values():
        row = names_of(manifest, case)[0]
        assert row == ["ignore", "person", "rug-merged", *["ignore"] * 4]
    assert len(cases) == 2


def test_orphans_of_both_sides_are_named(files, read):
    files.photo("portraits/images/1.jpg", "portraits/images/2.jpg")
    files.mask("portraits/masks/1.png", "portraits/masks/3.png")
    with pytest.raises(ManifestError) as error:
        read("portraits")
    assert "1 annotation(s) without image: 3.png" in str(error.value)
    assert "1 image(s) without annotation: 2.jpg" in str(error.value)


@pytest.mark.parametrize(
    ("name", "marks", "parts", "expected"),
    [
        (
            "cityscapes",
            "gtFine",
            ("train", "val"),
            [("aachen", None, None), ("bonn", "predict", None), ("ulm", "test", None)],
        ),
        (
            "cityscapes_coarse",
            "gtCoarse",
            ("train", "train_extra", "val"),
            [("aachen", "train", 1), ("erfurt", "train", 1), ("ulm", "train", 0)],
        ),
    ],
)
def test_cityscapes_cities_and_parts(files, read, name, marks, parts, expected):
    cities = {"train": "aachen", "train_extra": "erfurt", "val": "ulm", "test": "bonn"}
    for part, city in cities.items():
        stem = f"{part}/{city}/{city}_000000_000019"
        files.photo(f"cityscapes/leftImg8bit/{stem}_leftImg8bit.png")
        if part in parts:
            base = f"cityscapes/{marks}/{stem}_{marks}"
            files.mask(f"{base}_labelIds.png", values=(0, 7, 26, 33, 11, 4, 23))
            files.mask(f"{base}_instanceIds.png", f"{base}_color.png")
            files.text(f"{base}_polygons.json", "{}")
    if name == "cityscapes":  # only the coarse set has this part
        for path in files.root.rglob("*erfurt_*"):
            path.unlink()
    manifest, cases = read(name)
    found = [(case.group, case.split, case.fold) for case in cases.values()]
    assert found == expected
    row = names_of(manifest, cases["aachen_000000_000019"])[0]
    assert row == ["ignore", "road", "car", "bicycle", "building", "ignore", "sky"]
