import pytest

from medseg.errors import ManifestError
from medseg.readers import read_cases


@pytest.fixture
def scans(files):
    files.image("ct/one.nii.gz", "ct/two.nii.gz", "pet/one.nii.gz", "pet/two.nii.gz")
    files.label("l/one.nii.gz", "l/liver.nii.gz", "l/tumour.nii.gz")
    return files


def table(manifest, cases, **changes):
    return read_cases(manifest("table", options={"cases": cases}, **changes))


def test_all_that_a_row_can_say(scans, manifest):
    rows = [
        {
            "id": "b",
            "image": ["ct/one.nii.gz", {"path": "pet/one.nii.gz", "series": "1.2.3"}],
            "label": {"liver": "l/liver.nii.gz", "tumour": "l/tumour.nii.gz"},
            "group": "p7",
            "split": "train",
            "fold": 2,
            "annotated": ["liver"],
            "extra": {"scanner": "x"},
        },
        {"id": "a", "image": "ct/two.nii.gz", "label": "l/one.nii.gz", "select": {"liver": 5}},
    ]
    a, b = table(manifest, rows, channels=("CT", "PET"))
    assert a.label[0].select == {"liver": (5,)}
    assert [f.path.name for f in b.image] == ["one.nii.gz", "one.nii.gz"]
    assert b.image[1].series == "1.2.3"
    assert [(p.path.name, p.select) for p in b.label] == [
        ("liver.nii.gz", {"liver": ()}),
        ("tumour.nii.gz", {"tumour": ()}),
    ]
    assert (b.group, b.split, b.fold, b.annotated) == ("p7", "train", 2, ("liver",))
    assert b.extra == {"scanner": "x"}


def test_later_parts_may_select_for_themselves(scans, manifest):
    rows = [
        {
            "id": "a",
            "image": "ct/one.nii.gz",
            "label": [
                "l/liver.nii.gz",
                {"path": "l/tumour.nii.gz", "select": {"tumour": [1, 2]}},
            ],
            "select": {"liver": [5, 6]},
        }
    ]
    (a,) = table(manifest, rows)
    assert [p.select for p in a.label] == [{"liver": (5, 6)}, {"tumour": (1, 2)}]


def test_all_missing_files_are_listed_at_once(scans, manifest):
    rows = [
        {"id": "a", "image": "ct/none.nii.gz", "label": "l/one.nii.gz"},
        {"id": "b", "image": "ct/one.nii.gz", "label": "l/none.nii.gz"},
    ]
    with pytest.raises(ManifestError) as error:
        table(manifest, rows)
    assert "2 file(s)" in str(error.value)
    assert "a: " in str(error.value)
    assert "l/none.nii.gz" in str(error.value)


def test_mistyped_key_of_a_row_is_named(scans, manifest):
    with pytest.raises(ManifestError, match=r"options\.cases\.0\.imag.*did you mean 'image'"):
        table(manifest, [{"id": "a", "imag": "ct/one.nii.gz"}])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_with_names_of_its_own(scans, manifest, separator):
    lines = [
        ["Patient", "scan", "mask", "group", "fold", "select"],
        ["p1", "ct/one.nii.gz", "l/one.nii.gz", "g", "1", "liver=5 6|tumour=7"],
        ["p2", "ct/two.nii.gz", "", "", "", ""],
        ["", "", "", "", "", ""],
    ]
    scans.text("cases.csv", "\n".join(separator.join(line) for line in lines))
    options = {
        "file": "cases.csv",
        "columns": {"id": "Patient", "image": "scan", "label": "mask"},
    }
    one, two = read_cases(manifest("table", options=options))
    assert (one.id, one.group, one.fold) == ("p1", "g", 1)
    assert one.label[0].select == {"liver": (5, 6), "tumour": (7,)}
    assert (two.id, two.split, two.group) == ("p2", "predict", None)


def test_csv_with_a_column_for_each_channel_and_structure(scans, manifest):
    scans.text(
        "cases.csv",
        "id,image_CT,image_PET,label_liver,label_tumour\n"
        "a,ct/one.nii.gz,pet/one.nii.gz,l/liver.nii.gz,l/tumour.nii.gz\n"
        "b,ct/two.nii.gz,pet/two.nii.gz,l/liver.nii.gz,\n",
    )
    a, b = read_cases(manifest("table", options={"file": "cases.csv"}, channels=("CT", "PET")))
    assert [f.path.parent.name for f in a.image] == ["ct", "pet"]
    assert [p.select for p in a.label] == [{"liver": ()}, {"tumour": ()}]
    assert [p.select for p in b.label] == [{"liver": ()}]


def test_missing_columns_are_named_together(scans, manifest):
    scans.text("cases.csv", "Id,scans\na,ct/one.nii.gz\n")
    options = {"file": "cases.csv", "columns": {"image": "scan"}}
    with pytest.raises(ManifestError) as error:
        read_cases(manifest("table", options=options))
    assert "no column 'scan'; did you mean 'scans'?" in str(error.value)
    assert "no column 'id'" in str(error.value)


def test_bad_cell_is_named_with_its_line(scans, manifest):
    scans.text("cases.csv", "id,image,fold\na,ct/one.nii.gz,first\n")
    with pytest.raises(ManifestError, match=r"cases\.csv:2: fold: .*integer"):
        read_cases(manifest("table", options={"file": "cases.csv"}))


def test_one_of_cases_and_file_is_needed(scans, manifest):
    with pytest.raises(ManifestError, match="one of 'cases' and 'file'"):
        read_cases(manifest("table"))
