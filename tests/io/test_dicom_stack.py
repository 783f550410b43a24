from __future__ import annotations

import numpy as np
import pydicom
import pytest

from medseg.errors import FormatError
from medseg.geometry.volume import Volume
from medseg.io.dicom import choose_series, list_series
from medseg.io.dicom_series import list_objects
from medseg.io.volumes import read_volume
from medseg.phantom.dicom_files import write_dicom_series
from tests.io.dicom_objects import slices_of, write_seg


@pytest.fixture
def folder(tmp_path):
    data = np.random.default_rng(0).integers(-100, 200, (1, 7, 5, 6)).astype(np.int16)
    volume = Volume(data=data, affine=np.diag([-1.0, -1, 2, 1]))
    write_dicom_series(tmp_path / "s", volume, patient="Doe^Jane")
    return tmp_path / "s"


def edit(folder, change, numbers=range(6)):
    """Apply ``change`` to the slices of these instance numbers (from 0, by height)."""
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        if header.InstanceNumber - 1 in numbers:
            change(header)
            header.save_as(path)


def test_two_patients_in_one_series_are_refused_without_naming_them(folder):
    edit(folder, lambda header: setattr(header, "PatientID", "Roe^Richard"), [4])
    with pytest.raises(FormatError, match=r"IM\d+\.dcm: has another PatientID than IM") as error:
        read_volume(folder)
    assert "Roe" not in str(error.value)
    assert "Doe" not in str(error.value)
    edit(folder, lambda header: setattr(header, "PatientID", ""), [4])  # removed, not another one
    assert read_volume(folder).data.shape == (1, 7, 5, 6)


def test_two_frames_of_reference_are_refused(folder):
    edit(folder, lambda header: setattr(header, "FrameOfReferenceUID", "1.2.3"), [0])
    with pytest.raises(FormatError, match=r"another FrameOfReferenceUID.*two scans are mixed"):
        read_volume(folder)


def localizer(header):
    header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def test_scouts_are_refused_alone_and_among_slices(folder):
    edit(folder, localizer, [2])
    with pytest.raises(FormatError, match=r"is a scout .* among slices \(1 of 6\); move it out"):
        read_volume(folder)
    edit(folder, localizer)
    assert [info.scout for info in list_series(folder).values()] == [True]
    with pytest.raises(FormatError, match=r"is a scout \(ImageType LOCALIZER\), not a slice"):
        read_volume(folder)


def test_series_beside_a_scout_is_the_one_that_is_meant(folder):
    def other(header):
        localizer(header)
        header.SeriesInstanceUID = "1.2.3"

    edit(folder, other, [5])
    assert len(choose_series(folder, None).files) == 5
    assert read_volume(folder).data.shape == (1, 7, 5, 5)


def test_mixed_orientations_are_counted(folder):
    def turn(header):
        header.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    edit(folder, turn, [1, 3])
    message = r"2 orientations in one series: 4 axial \(such as .*\), 2 coronal .*localiser"
    with pytest.raises(FormatError, match=message):
        read_volume(folder)


def test_place_of_a_missing_slice_is_named(folder):
    for path in folder.iterdir():
        if pydicom.dcmread(path).InstanceNumber == 3:
            path.unlink()
            break
    with pytest.raises(FormatError, match=r"the first one lacking belongs at \(0\.0, 0\.0, 4\.0\)"):
        read_volume(folder)


def test_header_that_ends_too_soon_is_named(folder):
    path = sorted(folder.iterdir())[0]
    whole = path.read_bytes()
    ends = whole.index(b"\x28\x00\x10\x00US")  # Rows
    path.write_bytes(whole[:ends])
    words = "the header of a CT Image ends before the size of"
    (info,) = list_series(folder).values()
    assert words in str(info.damage)
    with pytest.raises(FormatError, match=words):
        read_volume(folder)


def test_folder_of_objects_alone_says_what_it_holds(folder, tmp_path):
    frames = [(1, 0, np.ones((5, 7), bool))]
    path = write_seg(tmp_path / "o/x.dcm", slices_of(folder), frames, [(1, "a", "1")])
    assert list_objects(tmp_path / "o") == {path: "SEG"}
    with pytest.raises(FormatError, match="holds no DICOM image, but SEG; name the folder"):
        read_volume(tmp_path / "o")
    with pytest.raises(FormatError, match=r"modality SEG, not a slice of an image.*annotation"):
        read_volume(path)
