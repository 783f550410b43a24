from pathlib import Path

import pytest

from medseg.errors import ManifestError
from medseg.readers import read_cases
from medseg.readers.pairing import pair_by_name


def pairs(images, labels):
    """Pair by name; give back the labels' names in the order of the images."""
    found = pair_by_name([Path("i", n) for n in images], [Path("l", n) for n in labels], Path())
    return [found[Path("i", n)].name if Path("i", n) in found else None for n in images]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["a.png", "b.png"], ["a.nii.gz", "b.nii.gz"]),
        (["ct_07.nii", "ct_12.nii"], ["07_mask.nii", "12_mask.nii"]),
        (["case1_t1.png", "case10_t1.png"], ["case1_seg.png", "case10_seg.png"]),
        (["img-001.png", "img-002.png"], ["Mask 1.png", "Mask 2.png"]),
        (["anna.png", "lena.png"], ["anna_gt.png", "lena_gt.png"]),
        (["P1.png", "P12.png"], ["P1_drawn-by-xy.png", "P12_drawn-by-z.png"]),
        (["scan.nii"], ["drawing.nii"]),
    ],
)
def test_names_that_belong_together(images, labels):
    assert pairs(images, labels) == labels
    assert pairs(images[::-1], labels) == labels[::-1]


def test_labels_may_be_fewer_than_images():
    images = [f"img_{i}.png" for i in range(1, 21)]
    labels = [f"seg_{i}.png" for i in (3, 10, 11)]
    assert pairs(images, labels)[2] == "seg_3.png"
    assert pairs(images, labels)[9:11] == ["seg_10.png", "seg_11.png"]
    assert pairs(images, labels).count(None) == 17


def test_files_of_equal_name_are_told_apart_by_their_folders():
    images = [Path("r/7/image.nii"), Path("r/8/image.nii")]
    labels = [Path("r/8/mask.nii"), Path("r/7/mask.nii")]
    found = pair_by_name(images, labels, Path("r"))
    assert found == {images[0]: labels[1], images[1]: labels[0]}


def test_orphans_are_listed():
    with pytest.raises(ManifestError) as error:
        pairs(["a.png", "b.png", "c.png"], ["a.png", "b.png", "x.png"])
    assert "2 of 3 labels" in str(error.value)
    assert "labels left: x.png" in str(error.value)
    assert "images left: c.png" in str(error.value)


def test_number_that_fits_two_images_is_refused():
    with pytest.raises(ManifestError, match="could be paired"):
        pairs(["s1.png", "s01.png"], ["m1.png", "m001.png"])


def test_reader_pairs_two_folders(files, manifest):
    files.image("scans/ct_1.nii.gz", "scans/ct_2.nii.gz", "scans/ct_3.nii.gz")
    files.label("drawn/liver_1.nii.gz", "drawn/liver_3.nii.gz")
    options = {"images": "scans", "labels": "drawn"}
    found = read_cases(manifest("pairs", options=options))
    assert [(c.id, c.split) for c in found] == [("ct_1", None), ("ct_2", "predict"), ("ct_3", None)]
    assert found[2].label[0].path.name == "liver_3.nii.gz"
    with pytest.raises(ManifestError, match=r"no label for ct_2\.nii\.gz"):
        read_cases(manifest("pairs", options={**options, "unlabelled": False}))


def test_reader_pairs_files_side_by_side(files, manifest):
    files.photo("1.png", "2.png")
    files.mask("1-mask.png", "2-mask.png")
    found = read_cases(manifest("pairs", options={"images": "*.png", "labels": "*-mask.png"}))
    assert [(c.id, c.label[0].path.name) for c in found] == [
        ("1", "1-mask.png"),
        ("2", "2-mask.png"),
    ]


def test_reader_takes_one_folder_for_each_structure(files, manifest):
    files.image("scans/a.nii.gz", "scans/b.nii.gz")
    files.label("m/liver/a.nii.gz", "m/liver/b.nii.gz", "m/t/b.nii.gz")
    options = {"images": "scans", "labels": {"liver": "m/liver", "tumour": "m/t"}}
    a, b = read_cases(manifest("pairs", options=options))
    assert [p.select for p in a.label] == [{"liver": ()}]
    assert [p.select for p in b.label] == [{"liver": ()}, {"tumour": ()}]


def test_patient_is_found_in_the_id(files, manifest):
    files.photo("i/07L.png", "i/07R.png", "i/08L.png")
    files.mask("m/07L.png", "m/07R.png", "m/08L.png")
    options = {"images": "i", "labels": "m", "group": r"(\d+)[LR]"}
    assert [c.group for c in read_cases(manifest("pairs", options=options))] == ["07", "07", "08"]
    with pytest.raises(ManifestError, match=r"options\.group"):
        read_cases(manifest("pairs", options={**options, "group": "(x)"}))


def test_pattern_that_is_none_is_named(files, manifest):
    files.image("scans/a.nii.gz")
    options = {"images": "scans", "labels": "/absent/*.png"}
    with pytest.raises(ManifestError, match=r"'/absent/\*\.png' is no pattern"):
        read_cases(manifest("pairs", options=options))


def test_empty_folders_are_named(files, manifest):
    files.image("scans/a.nii.gz")
    with pytest.raises(ManifestError, match="no image file in drawn"):
        read_cases(manifest("pairs", options={"images": "scans", "labels": "drawn"}))
