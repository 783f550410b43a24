from pathlib import Path

import pytest

from medseg.case import Case, ImageFile, LabelPart
from medseg.errors import ManifestError
from medseg.readers.common import as_id, checked, image_files, missing_files, some, stem


def case(name, **changes):
    return Case(
        id=name, image=(ImageFile(path=Path("x")),), label=(LabelPart(path=Path("y")),), **changes
    )


def test_stem_drops_only_image_endings():
    names = ["a.nii.gz", "a.b.NRRD", "image_0", "1.2.840", "x.png"]
    assert [stem(Path(n)) for n in names] == ["a", "a.b", "image_0", "1.2.840", "x"]


def test_hidden_files_and_other_files_are_no_images(files):
    files.image("f/a.nii.gz")
    files.text("f/._a.nii.gz", "left by a Mac")
    files.text("f/readme.txt", "")
    assert [p.name for p in image_files(files.root / "f")] == ["a.nii.gz"]
    assert image_files(files.root / "absent") == []


def test_as_id_keeps_what_can_name_a_file():
    assert as_id("P 01/scan (2)") == "P_01_scan_2"
    assert as_id("a-b_c.d+e") == "a-b_c.d+e"


def test_some_counts_what_it_does_not_list():
    assert some(range(3)) == "0, 1, 2"
    assert some(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7 and 4 more"


def test_excluded_cases_are_left_out_and_the_rest_is_sorted(manifest):
    found = checked([case("b"), case("c"), case("a")], manifest("x", exclude=("c",)), looked_for="")
    assert [c.id for c in found] == ["a", "b"]


def test_unknown_excluded_id_names_the_nearest(manifest):
    with pytest.raises(ManifestError, match=r"exclude.*'liver_1'.*did you mean 'liver_01'"):
        checked([case("liver_01")], manifest("x", exclude=("liver_1",)), looked_for="")


def test_ids_used_twice_and_ids_that_name_no_file_are_refused(manifest):
    with pytest.raises(ManifestError, match="used twice: a"):
        checked([case("a"), case("a")], manifest("x"), looked_for="")
    with pytest.raises(ManifestError, match=r"cannot name a file: \.\./a"):
        checked([case("../a")], manifest("x"), looked_for="")


def test_no_case_says_what_was_looked_for(manifest):
    with pytest.raises(ManifestError, match="no case found \\(imagesTr\\)"):
        checked([], manifest("x"), looked_for="imagesTr")


def test_selected_label_must_be_in_the_table(manifest):
    part = LabelPart(path=Path("y"), select={"livr": (5,)})
    wrong = Case(id="a", image=(), label=(part,))
    with pytest.raises(ManifestError, match=r"case a: 'livr'.*did you mean 'liver'"):
        checked([wrong], manifest("x"), looked_for="")


def test_case_without_label_is_only_predicted(manifest):
    (found,) = checked([Case(id="a", image=())], manifest("x"), looked_for="")
    assert found.split == "predict"


def test_missing_files_lists_images_and_labels(files):
    files.image("x.nii.gz")
    one = Case(
        id="a",
        image=(ImageFile(path=files.root / "x.nii.gz"),),
        label=(LabelPart(path=files.root / "y.nii.gz"),),
    )
    assert missing_files([one]) == [f"a: {files.root / 'y.nii.gz'}"]
