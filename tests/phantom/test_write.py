import nibabel as nib
import numpy as np
import pydicom
import pytest

from medseg.geometry.volume import Volume
from medseg.io.dicom import list_series, read_series
from medseg.phantom import PhantomSettings, make_phantom, stored_as, write_case
from medseg.phantom.dicom_files import write_dicom_series
from medseg.phantom.write import ORIENTATIONS, case_paths

SMALL = PhantomSettings(in_plane_mm=(7, 7), slice_mm=(12, 12))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASL", "IPR", "SRA"])
def test_stored_as_agrees_with_nibabel(codes):
    volume = Volume(
        data=np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4), affine=np.diag([2.0, 3, 4, 1])
    )
    turned = stored_as(volume, codes)
    image = nib.Nifti1Image(turned.data[0], turned.affine)
    assert "".join(nib.aff2axcodes(image.affine)) == codes
    back = nib.as_closest_canonical(image)
    assert np.array_equal(np.asarray(back.dataobj), volume.data[0])
    assert np.allclose(back.affine, volume.affine)


def test_nifti_cases_come_in_several_orientations(tmp_path):
    seen = set()
    for index in range(len(ORIENTATIONS)):
        path, label = write_case(tmp_path, 0, index, settings=SMALL)
        image, truth = nib.load(path), nib.load(label)
        seen.add("".join(nib.aff2axcodes(image.affine)))
        assert image.shape == truth.shape
        assert np.allclose(image.affine, truth.affine)
        made, mask = make_phantom(0, index, SMALL)
        back = nib.as_closest_canonical(image)
        assert np.array_equal(np.asarray(back.dataobj), made.data[0])
        canonical = nib.as_closest_canonical(truth)
        assert np.array_equal(np.asarray(canonical.dataobj), mask)
    assert len(seen) >= 4


def test_dicom_series_reads_back_as_it_was_made(tmp_path):
    folder, label = write_case(tmp_path, 0, 2, file_format="dicom", settings=SMALL)
    assert (folder, label) == case_paths(tmp_path, 2, "dicom")
    (info,) = list_series(folder).values()
    assert (info.modality, info.patient) == ("CT", "phantom_002")
    volume = read_series(info.files).volume
    made, mask = make_phantom(0, 2, SMALL)
    back = nib.as_closest_canonical(nib.Nifti1Image(volume.data[0], volume.affine))
    assert np.array_equal(np.asarray(back.dataobj), made.data[0])
    assert np.allclose(back.affine, made.affine, atol=1e-3)
    truth = nib.load(label)
    assert np.allclose(truth.affine, volume.affine, atol=1e-3)
    assert int(np.asarray(truth.dataobj).sum()) == int(mask.sum())


def test_dicom_values_lie_behind_a_rescale_and_names_do_not_follow_position(tmp_path):
    affine = np.diag([2.0, 2, 5, 1])
    data = np.full((1, 2, 3, 6), -1000, dtype=np.int16)
    data[0, 1, 2, 4] = 60  # column 1, row 2 of slice 4
    files = write_dicom_series(tmp_path, Volume(data=data, affine=affine), patient="p")
    slice4 = pydicom.dcmread(files[4])
    assert slice4.RescaleIntercept == -1024
    assert slice4.pixel_array[2, 1] == 60 + 1024
    heights = [
        float(pydicom.dcmread(p).ImagePositionPatient[2]) for p in sorted(tmp_path.iterdir())
    ]
    assert heights != sorted(heights)
    assert sorted(heights) == [0, 5, 10, 15, 20, 25]


def test_oblique_series_keeps_its_place(tmp_path):
    angle = np.deg2rad(20)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1.5, -2, 4])
    affine[:3, 3] = (30, -12, 7)
    data = np.random.default_rng(0).integers(-1000, 1000, (1, 4, 5, 6)).astype(np.int16)
    files = write_dicom_series(tmp_path, Volume(data=data, affine=affine), patient="p")
    volume = read_series(files).volume
    assert np.allclose(volume.affine, affine, atol=1e-4)
    assert np.array_equal(volume.data, data)
