from __future__ import annotations

import numpy as np

from medseg.geometry.volume import Volume
from medseg.identifiers import NOBODY_KNOWN
from medseg.io.dicom_identity import read_identity
from medseg.phantom.dicom_files import write_dicom_series


def write_series(folder):
    volume = Volume(data=np.zeros((1, 4, 4, 3), np.int16), affine=np.diag([-1.0, -1.0, 2.0, 1.0]))
    return write_dicom_series(folder, volume, patient="Quux^Amadeus")


def test_a_file_and_its_folder_tell_the_same(tmp_path):
    files = write_series(tmp_path / "s")
    identity, uid = read_identity(files[0])
    assert (identity.name, identity.patient_id) == ("Quux^Amadeus", "Quux^Amadeus")
    assert uid
    assert read_identity(tmp_path / "s") == (identity, uid)


def test_a_file_cut_short_behind_its_header_tells_and_one_cut_before_it_does_not(tmp_path):
    first, *others = write_series(tmp_path / "s")
    whole = first.read_bytes()
    for other in others:
        other.unlink()
    first.write_bytes(whole[: whole.index(b"Quux") + 60])
    assert read_identity(first)[0].name == "Quux^Amadeus"
    first.write_bytes(whole[:140])
    assert read_identity(tmp_path / "s") == (NOBODY_KNOWN, "")


def test_what_is_no_dicom_tells_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("Quux")
    (tmp_path / "b.dcm").write_bytes(b"")
    for place in (tmp_path, tmp_path / "a.txt", tmp_path / "none.nii.gz"):
        assert read_identity(place) == (NOBODY_KNOWN, "")
