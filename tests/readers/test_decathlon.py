import pytest

from medseg.errors import ManifestError
from medseg.readers import read_cases
from medseg.readers.decathlon import read_decathlon


def test_training_unlabelled_and_held_out_cases(files, manifest):
    files.image("imagesTr/b.nii.gz", "imagesTr/a.nii.gz", "imagesTs/c.nii.gz", "imagesTs/d.nii.gz")
    files.label("labelsTr/a.nii.gz", "labelsTr/b.nii.gz", "labelsTs/d.nii.gz")
    files.text("imagesTr/._a.nii.gz", "left by a Mac")
    cases = read_decathlon(files.root, manifest("decathlon"))
    assert [(c.id, c.split, len(c.label)) for c in cases] == [
        ("a", None, 1),
        ("b", None, 1),
        ("c", "predict", 0),
        ("d", "test", 1),
    ]
    assert cases[0].label[0].path == files.root / "labelsTr/a.nii.gz"
    assert cases[0].label[0].select is None


def test_unlabelled_cases_can_be_left_out(files, manifest):
    files.image("imagesTr/a.nii.gz", "imagesTs/c.nii.gz")
    files.label("labelsTr/a.nii.gz")
    found = read_cases(manifest("decathlon", options={"unlabelled": False}))
    assert [c.id for c in found] == ["a"]


def test_all_training_images_without_label_are_named(files, manifest):
    files.image("imagesTr/a.nii.gz", "imagesTr/b.nii.gz", "imagesTr/c.nii.gz")
    files.label("labelsTr/b.nii.gz")
    with pytest.raises(ManifestError, match=r"labelsTr for a\.nii\.gz, c\.nii\.gz"):
        read_decathlon(files.root, manifest("decathlon"))


def test_empty_folder_is_refused(files, manifest):
    with pytest.raises(ManifestError, match="no case found"):
        read_decathlon(files.root, manifest("decathlon"))
