import pytest

from medseg.errors import ManifestError
from medseg.readers import read_cases
from medseg.readers.dicom import folder_ids


def test_folders_are_named_by_what_tells_them_apart(tmp_path):
    def ids(*names):
        return folder_ids([tmp_path / name for name in names], tmp_path)

    assert ids("data/p1/CT", "data/p2/CT") == ["p1", "p2"]
    assert ids("p1/a", "p1/b", "p2/a") == ["p1_a", "p1_b", "p2_a"]
    assert ids("x/p 1") == ["p_1"]
    assert folder_ids([tmp_path], tmp_path) == [tmp_path.name]


def test_labels_of_every_form(files, manifest):
    files.series("images/a", "images/b", "images/c", "images/d")
    files.series("labels/a/liver", "labels/a/tumour", "labels/a/spine", mask=True)
    files.label("labels/b.nii.gz")
    files.mask(*(f"labels/c/liver/{i}.png" for i in range(4)))
    a, b, c, d = read_cases(manifest("dicom"))
    assert [x.id for x in (a, b, c, d)] == ["a", "b", "c", "d"]
    assert [(p.path.name, p.select) for p in a.label] == [
        ("liver", {"liver": ()}),
        ("tumour", {"tumour": ()}),
    ]
    assert [(p.path.name, p.select) for p in b.label] == [("b.nii.gz", None)]
    assert [(p.path.name, p.select) for p in c.label] == [("liver", {"liver": ()})]
    assert (d.label, d.split) == ((), "predict")
    assert a.image[0].path == files.root / "images/a"
    assert a.image[0].series
    assert [x.group for x in (a, b)] == ["images/a", "images/b"]  # the PatientID


def test_one_mask_of_plain_slices(files, manifest):
    files.series("images/a", "images/b")
    files.mask(*(f"labels/{name}/{i}.png" for name in "ab" for i in range(4)))
    a, _ = read_cases(manifest("dicom", labels={"liver": 1}))
    assert [(p.path.name, p.select) for p in a.label] == [("a", {"liver": ()})]


def test_masks_beside_the_series(files, manifest):
    for name in ("1", "2"):
        files.series(f"{name}/PATIENT_DICOM")
        files.series(f"{name}/MASKS_DICOM/livertumor01", f"{name}/MASKS_DICOM/liver", mask=True)
    options = {
        "images": "*/PATIENT_DICOM",
        "label_dir": "{case}/MASKS_DICOM",
        "structures": {"liver": ["liver"], "tumour": ["livertumor*"]},
        "unlabelled": False,
    }
    one, two = read_cases(manifest("dicom", options=options))
    assert (one.id, two.id) == ("1", "2")
    assert [p.path.name for p in one.label] == ["liver", "livertumor01"]
    assert [p.select for p in one.label] == [{"liver": ()}, {"tumour": ()}]


def test_patient_with_two_series_stays_together(files, manifest):
    files.series("early", "late", patient="same")
    files.series("other", patient="else")
    found = read_cases(manifest("dicom"))
    assert [(c.id, c.group) for c in found] == [
        ("early", "same"),
        ("late", "same"),
        ("other", "else"),
    ]


def test_same_patient_id_everywhere_is_no_group(files, manifest):
    files.series("a", "b", patient="anonymous")
    assert {c.group for c in read_cases(manifest("dicom"))} == {None}


def test_several_series_in_one_folder_get_names_of_their_own(files, manifest):
    files.series("a")
    for path in (files.root / "a").iterdir():
        path.rename(path.with_name(f"first_{path.name}"))
    files.series("b")
    for path in (files.root / "b").iterdir():
        path.rename(files.root / "a" / path.name)
    (files.root / "b").rmdir()
    found = read_cases(manifest("dicom"))
    assert len({c.id for c in found}) == 2
    assert len({c.image[0].series for c in found}) == 2


def test_other_modalities_are_passed_over(files, manifest):
    files.series("a")
    with pytest.raises(ManifestError, match=r"no case found.*modality MR"):
        read_cases(manifest("dicom", options={"modality": "MR"}))


def test_annotations_that_are_due(files, manifest):
    files.series("images/a", "images/b")
    files.label("labels/b.nii.gz")
    with pytest.raises(ManifestError, match="no annotation under labels for a"):
        read_cases(manifest("dicom", options={"unlabelled": False}))


@pytest.mark.data
def test_real_series_are_listed(data_root, manifest):
    found = read_cases(manifest("dicom", root=data_root / "dicom"))
    assert [c.id for c in found] == ["study1_hippocrop", "study3_hippocrop", "study3_t1post"]
