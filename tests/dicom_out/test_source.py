import re

import numpy as np
import pydicom
import pytest

from medseg.errors import FormatError
from tests.dicom_out.series import edit_headers, make_series, segmented, stored_indices


def test_slices_come_in_the_order_of_their_positions(tmp_path):
    made = make_series(tmp_path / "ct")
    source = made.findings.source
    for k, header in enumerate(source.headers):
        lps = np.array(header.ImagePositionPatient, float)
        place = source.grid.matrix @ [0, 0, k, 1]
        np.testing.assert_allclose(lps * [-1, -1, 1], place[:3], atol=1e-3)


def test_only_what_the_study_requires_is_taken_over(tmp_path):
    make_series(tmp_path / "ct")

    def fill(dataset, number):
        dataset.PatientAge, dataset.PatientWeight = "047Y", 79
        dataset.OtherPatientIDs, dataset.PatientComments = "7", "seen twice"
        dataset.StudyDescription, dataset.InstitutionName = "abdomen", "Hospital"
        dataset.PerformingPhysicianName = "Who^Dr"
        dataset.PatientSex = "FEMALE"

    edit_headers(tmp_path / "ct", fill)
    source = segmented(tmp_path / "ct", stored_indices()).findings.source
    assert source.patient_name == "Doe^Jane"
    assert source.first.PatientID == "Doe^Jane"
    assert source.first.PatientSex == ""  # not a value that DICOM has
    text = str(source.first)
    for word in ("047Y", "79", "seen twice", "abdomen", "Hospital", "Who"):
        assert re.search(rf"'{word}'|: {word}$", text) is None


def test_slices_of_two_patients_are_refused_without_their_names(tmp_path):
    make_series(tmp_path / "ct")

    def mix(dataset, number):
        if number == 3:
            dataset.PatientName = "Secret^Other"

    edit_headers(tmp_path / "ct", mix)
    with pytest.raises(FormatError, match=r"IM0003\.dcm has another PatientName") as caught:
        segmented(tmp_path / "ct", stored_indices())
    assert "Secret" not in str(caught.value)
    assert "Doe" not in str(caught.value)


def test_a_series_without_study_gets_one_and_says_so(tmp_path, caplog):
    make_series(tmp_path / "ct")

    def blank(dataset, number):
        dataset.StudyInstanceUID = ""
        del dataset.FrameOfReferenceUID

    edit_headers(tmp_path / "ct", blank)
    first = segmented(tmp_path / "ct", stored_indices()).findings.source.first
    second = segmented(tmp_path / "ct", stored_indices()).findings.source.first
    assert "no StudyInstanceUID, FrameOfReferenceUID" in caplog.text
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.StudyInstanceUID != first.FrameOfReferenceUID


def test_blanked_instance_uids_are_taken_from_the_file_meta(tmp_path):
    make_series(tmp_path / "ct")
    edit_headers(tmp_path / "ct", lambda d, n: setattr(d, "SOPClassUID", ""))
    path = tmp_path / "ct" / "IM0000.dcm"
    kept = pydicom.dcmread(path).file_meta.MediaStorageSOPInstanceUID
    edit_headers(tmp_path / "ct", lambda d, n: setattr(d, "SOPInstanceUID", ""))
    source = segmented(tmp_path / "ct", stored_indices()).findings.source
    assert kept in {header.SOPInstanceUID for header in source.headers}
    assert {h.SOPClassUID for h in source.headers} == {pydicom.uid.CTImageStorage}


def test_a_name_of_another_alphabet_survives(tmp_path):
    make_series(tmp_path / "ct")

    def rename(dataset, number):
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.PatientName = "Müller^Jörg"

    edit_headers(tmp_path / "ct", rename)
    assert segmented(tmp_path / "ct", stored_indices()).findings.source.patient_name == (
        "Müller^Jörg"
    )
