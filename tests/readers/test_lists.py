import pytest

from medseg.errors import ManifestError
from medseg.readers import read_cases

PARTS = {
    "train": {"file": "train.txt", "role": "train"},
    "val": {"file": "val.txt", "role": "validate"},
    "test": {"file": "test.txt", "role": "test", "optional": True},
}


def test_paths_of_another_machine_are_found_by_their_last_two_parts(files, manifest):
    files.photo("train/0001TP_1.png", "train/0006R0_2.png", "val/0016E5_3.png")
    files.mask("trainannot/0001TP_1.png", "trainannot/0006R0_2.png", "valannot/0016E5_3.png")
    files.mask("trainannot/not_listed.png")
    files.text(
        "train.txt",
        "".join(f"/S/C/train/{n}.png /S/C/trainannot/{n}.png\n" for n in ("0001TP_1", "0006R0_2")),
    )
    files.text("val.txt", "/S/C/val/0016E5_3.png /S/C/valannot/0016E5_3.png\n\n")
    found = read_cases(manifest("lists", options={"parts": PARTS}))
    assert [(c.id, c.split, c.fold, c.label[0].path.parent.name) for c in found] == [
        ("0001TP_1", "train", 1, "trainannot"),
        ("0006R0_2", "train", 1, "trainannot"),
        ("0016E5_3", "train", 0, "valannot"),
    ]
    drives = {"group": "^([^_]+)_", "test_groups": ["0006R0"]}
    found = read_cases(manifest("lists", options={"parts": PARTS} | drives))
    assert [(c.group, c.split, c.fold) for c in found] == [
        ("0001TP", "train", 1),
        ("0006R0", "test", None),
        ("0016E5", "train", 0),
    ]


def test_names_are_found_in_folders_with_a_suffix(files, manifest):
    files.photo("raw/a.png", "raw/b.png")
    files.mask("marked/a_L.png", "marked/b_L.png")
    files.text("train.txt", "a\n")
    files.text("val.txt", "/S/val/b.png /S/valannot/b.png\n")
    where = {"images": "raw", "labels": "marked"}
    parts = {name: part | where for name, part in PARTS.items()}
    found = read_cases(
        manifest("lists", options={"parts": parts, "label_suffix": "_L", "encoding": "rgb"})
    )
    assert [c.label[0].path.name for c in found] == ["a_L.png", "b_L.png"]
    assert {c.label[0].decoder for c in found} == {"rgb"}


def test_files_that_are_not_there_are_named(files, manifest):
    files.photo("train/a.png")
    files.text(
        "train.txt", "/S/train/a.png /S/trainannot/a.png\n/S/train/b.png /S/trainannot/b.png\n"
    )
    with pytest.raises(ManifestError) as error:
        read_cases(manifest("lists", options={"parts": {"train": PARTS["train"]}}))
    assert "3 file(s) of part 'train' are not there: /S/trainannot/a.png, /S/train/b.png" in str(
        error.value
    )
    with pytest.raises(ManifestError, match=r"val\.txt: cannot be read"):
        read_cases(manifest("lists", options={"parts": {"val": PARTS["val"]}}))
