import pytest

from medseg.errors import ManifestError
from medseg.readers import read_cases

D = "derivatives/manual"


def test_sessions_channels_and_groups(files, manifest):
    for name in ("sub-01/ses-1/anat/sub-01_ses-1", "sub-01/ses-2/anat/sub-01_ses-2"):
        files.image(f"{name}_T1w.nii.gz", f"{name}_FLAIR.nii.gz")
        files.label(f"{D}/{name}_space-T1w_dseg.nii.gz")
    files.image("sub-02/anat/sub-02_T1w.nii.gz", "sub-02/anat/sub-02_FLAIR.nii.gz")
    options = {"images": ["T1w", "FLAIR"]}
    found = read_cases(manifest("bids", options=options, channels=("T1w", "FLAIR")))
    assert [(c.id, c.group, c.split) for c in found] == [
        ("sub-01_ses-1", "sub-01", None),
        ("sub-01_ses-2", "sub-01", None),
        ("sub-02", "sub-02", "predict"),
    ]
    assert [f.path.name for f in found[1].image] == [
        "sub-01_ses-2_T1w.nii.gz",
        "sub-01_ses-2_FLAIR.nii.gz",
    ]
    assert "ses-2" in found[1].label[0].path.name


def test_masks_with_a_label_entity_are_structures(files, manifest):
    files.image("sub-a/ct/sub-a_ct.nii.gz")
    files.label(f"{D}/sub-a/ct/sub-a_label-liver_mask.nii.gz")
    files.label(f"{D}/sub-a/ct/sub-a_label-tumour_mask.nii.gz")
    (a,) = read_cases(manifest("bids", options={"images": ["ct"]}))
    assert [p.select for p in a.label] == [{"liver": ()}, {"tumour": ()}]


def test_several_annotations_need_a_choice(files, manifest):
    files.image("sub-a/anat/sub-a_T1w.nii.gz")
    files.label(f"{D}/sub-a/anat/sub-a_desc-one_dseg.nii.gz")
    files.label(f"{D}/sub-a/anat/sub-a_desc-two_dseg.nii.gz")
    with pytest.raises(ManifestError, match=r"several annotations.*choose with 'desc'"):
        read_cases(manifest("bids"))
    (a,) = read_cases(manifest("bids", options={"desc": "two"}))
    assert a.label[0].path.name == "sub-a_desc-two_dseg.nii.gz"


def test_missing_channels_are_listed_together(files, manifest):
    files.image("sub-a/anat/sub-a_T1w.nii.gz", "sub-b/anat/sub-b_T1w.nii.gz")
    with pytest.raises(ManifestError, match=r"2 problem.*\n.*sub-a_T2w.*\n.*sub-b_T2w"):
        read_cases(manifest("bids", options={"images": ["T1w", "T2w"]}, channels=("a", "b")))
