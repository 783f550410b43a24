import numpy as np
import pytest

from medseg.errors import ManifestError
from medseg.io.load import load_image, load_label
from medseg.phantom import PhantomSettings, make_phantom
from medseg.readers import read_cases

COARSE = {"in_plane_mm": [7, 7], "slice_mm": [12, 12]}


def test_cases_are_made_once_and_read_back(tmp_path, manifest):
    described = manifest("phantom", options={"cases": 3, "seed": 2, **COARSE})
    cases = read_cases(described)
    written = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nii.gz")}
    assert len(written) == 6
    assert read_cases(described) == cases
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nii.gz")} == written
    settings = PhantomSettings(in_plane_mm=(7, 7), slice_mm=(12, 12))
    for index, case in enumerate(cases):
        image = load_image(case)
        made, mask = make_phantom(2, index, settings)
        assert np.array_equal(image.volume.data, made.data)
        assert np.array_equal(load_label(case, described.scheme, image), mask)


def test_case_that_is_missing_is_made_again(tmp_path, manifest):
    described = manifest("phantom", options={"cases": 2, **COARSE})
    first, second = read_cases(described)
    kept = first.image[0].path.stat().st_mtime_ns
    folder = second.image[0].path.parent.parent
    before = second.image[0].path.read_bytes()
    folder.rename(tmp_path / "moved")
    assert read_cases(described) == [first, second]
    assert second.image[0].path.read_bytes() == before
    assert first.image[0].path.stat().st_mtime_ns == kept
    assert not list(tmp_path.rglob(".making*"))


def test_other_options_have_a_folder_of_their_own(manifest):
    one = read_cases(manifest("phantom", options={"cases": 1, **COARSE}))
    two = read_cases(manifest("phantom", options={"cases": 1, "seed": 1, **COARSE}))
    more = read_cases(manifest("phantom", options={"cases": 2, **COARSE}))
    assert one[0].image != two[0].image
    assert more[0].image == one[0].image


def test_dicom_form_holds_the_same_voxels(manifest):
    nifti = manifest("phantom", options={"cases": 1, **COARSE})
    dicom = manifest("phantom", options={"cases": 1, "file_format": "dicom", **COARSE})
    (a,), (b,) = read_cases(nifti), read_cases(dicom)
    assert b.image[0].path.is_dir()
    left, right = load_image(a), load_image(b)
    assert np.array_equal(left.volume.data, right.volume.data)
    assert np.allclose(left.volume.affine, right.volume.affine, atol=1e-3)
    assert np.array_equal(load_label(a, nifti.scheme, left), load_label(b, dicom.scheme, right))


def test_wrong_options_are_named(manifest):
    with pytest.raises(ManifestError, match=r"options\.sed.*did you mean 'seed'"):
        read_cases(manifest("phantom", options={"sed": 1}))
    with pytest.raises(ManifestError, match=r"options\.file_format.*'nifti' or 'dicom'"):
        read_cases(manifest("phantom", options={"file_format": "nrrd"}))
    with pytest.raises(ManifestError, match="no case found"):
        read_cases(manifest("phantom", options={"cases": 0}))
