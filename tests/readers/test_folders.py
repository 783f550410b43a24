import json

import pytest

from medseg.errors import ManifestError
from medseg.readers import read_cases
from medseg.readers.folders import other_observer


def options(**changes):
    return {"parts": {"all": {"images": "i", "labels": "m"}}} | changes


def test_parts_pair_by_stem_and_keep_their_role(files, manifest):
    files.photo("train/a.png", "train/b.jpg", "val/c.png", "test/d.png", "new/e.png")
    files.mask("trainannot/a.png", "trainannot/b.png", "valannot/c.png", "testannot/d.png")
    parts = {
        "train": {"images": "train", "labels": "trainannot", "role": "train"},
        "val": {"images": "val", "labels": "valannot", "role": "validate"},
        "test": {"images": "test", "labels": "testannot", "role": "test"},
        "new": {"images": "new", "role": "predict"},
        "later": {"images": "later", "optional": True},
    }
    found = read_cases(manifest("folders", options={"parts": parts}))
    assert [(c.id, c.split, c.fold) for c in found] == [
        ("a", "train", 1),
        ("b", "train", 1),
        ("c", "train", 0),
        ("d", "test", None),
        ("e", "predict", None),
    ]
    assert [c.label[0].path.name for c in found[:4]] == ["a.png", "b.png", "c.png", "d.png"]
    assert found[4].label == ()
    parts["later"]["optional"] = False
    with pytest.raises(ManifestError, match=r"no folder 'later' \(part 'later'\)"):
        read_cases(manifest("folders", options={"parts": parts}))


def test_sub_folders_and_suffixes_belong_together(files, manifest):
    files.photo(
        "l/bonn/bonn_000001_000019_leftImg8bit.png", "l/ulm/ulm_000001_000019_leftImg8bit.png"
    )
    for city in ("bonn", "ulm"):
        stem = f"g/{city}/{city}_000001_000019_gtFine"
        files.mask(f"{stem}_labelIds.png", f"{stem}_instanceIds.png", f"{stem}_color.png")
    found = read_cases(
        manifest(
            "folders",
            options=options(
                parts={"train": {"images": "l", "labels": "g"}},
                image_suffix="_leftImg8bit",
                label_suffix="_gtFine_labelIds",
                recursive=True,
                group="([a-zA-Z-]+)_[0-9]{6}_[0-9]{6}",
                test_groups=["ulm"],
            ),
        )
    )
    assert [(c.id, c.group, c.split) for c in found] == [
        ("bonn_000001_000019", "bonn", None),
        ("ulm_000001_000019", "ulm", "test"),
    ]
    assert found[0].label[0].path.name == "bonn_000001_000019_gtFine_labelIds.png"


def test_orphans_of_both_sides_are_named(files, manifest):
    files.photo("i/a.png", "i/b.png")
    files.mask("m/a.png", "m/c.png")
    with pytest.raises(ManifestError) as error:
        read_cases(manifest("folders", options=options()))
    assert "1 annotation(s) without image: c.png" in str(error.value)
    assert "1 image(s) without annotation: b.png" in str(error.value)
    (files.root / "m/c.png").unlink()
    found = read_cases(manifest("folders", options=options(unlabelled=True)))
    assert [(c.id, c.split) for c in found] == [("a", None), ("b", "predict")]


def test_two_images_of_one_name_are_refused(files, manifest):
    files.photo("i/a.png", "i/a.jpg")
    files.mask("m/a.png")
    with pytest.raises(ManifestError, match=r"a\.jpg and a\.png are both 'a'"):
        read_cases(manifest("folders", options=options()))
    found = read_cases(manifest("folders", options=options(image_ending=".jpg")))
    assert found[0].image[0].path.name == "a.jpg"


def test_equal_names_in_several_parts_are_told_apart(files, manifest):
    files.photo("x/i/1.png", "y/i/1.png")
    files.mask("x/m/1.png", "y/m/1.png")
    parts = {p: {"images": f"{p}/i", "labels": f"{p}/m"} for p in "xy"}
    found = read_cases(manifest("folders", options={"parts": parts}))
    assert [c.id for c in found] == ["x_i_1", "y_i_1"]


def test_masks_beside_images_and_a_second_observer(files, manifest):
    files.photo("Image_01L.jpg", "Image_01R.jpg", "Image_02L.jpg")
    for name in ("01L", "01R", "02L"):
        files.mask(f"Image_{name}_1stHO.png")
    files.mask("Image_01L_2ndHO.png")
    found = read_cases(
        manifest(
            "folders",
            labels={"vessel": 1},
            options=options(
                parts={"all": {"images": ".", "labels": "."}},
                label_suffix="_1stHO",
                second_suffix="_2ndHO",
                group="Image_([0-9]+)[LR]",
            ),
        )
    )
    assert [(c.id, c.group) for c in found] == [
        ("Image_01L", "01"),
        ("Image_01R", "01"),
        ("Image_02L", "02"),
    ]
    assert other_observer(found[0]).label[0].path.name == "Image_01L_2ndHO.png"
    with pytest.raises(ManifestError, match="case Image_01R: has no second observer"):
        other_observer(found[1])


def test_json_beside_each_photograph(files, manifest):
    files.photo("p/a.jpg")
    files.text("p/a.json", json.dumps({"imageHeight": 6, "imageWidth": 7, "shapes": []}))
    parts = {"all": {"images": "p", "labels": "p"}}
    (case,) = read_cases(manifest("folders", options=options(parts=parts, encoding="labelme")))
    assert (case.label[0].path.name, case.label[0].decoder) == ("a.json", "labelme")
    with pytest.raises(ManifestError, match="no encoding is named 'labelmee'; did you mean"):
        read_cases(manifest("folders", options=options(parts=parts, encoding="labelmee")))


def test_group_that_no_case_has_is_named(files, manifest):
    files.photo("i/a_1.png")
    files.mask("m/a_1.png")
    with pytest.raises(ManifestError, match="test_groups: no case is of b; groups: a"):
        read_cases(manifest("folders", options=options(group="^([a-z])_", test_groups=["b"])))
    with pytest.raises(ManifestError, match=r"options\.group: 'x' should have one group"):
        read_cases(manifest("folders", options=options(group="x")))
