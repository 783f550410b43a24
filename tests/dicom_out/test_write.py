import builtins
import importlib

import pydicom
import pytest

from medseg.dicom_out import Wanted, write, write_dicom
from medseg.errors import FormatError, MissingExtraError
from tests.dicom_out.series import ALGORITHM, edit_headers, make_series, segmented, stored_indices

PDF = b"%PDF-1.4 odd length"


@pytest.fixture
def made(tmp_path):
    return make_series(tmp_path / "ct")


def test_a_pdf_comes_back_as_it_was(made, tmp_path):
    (path,) = write_dicom(tmp_path / "out", "case", made.findings, ALGORITHM, Wanted(), pdf=PDF)
    dataset = pydicom.dcmread(path)
    assert dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength] == PDF
    assert dataset.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert dataset.StudyInstanceUID == made.findings.source.first.StudyInstanceUID
    assert len(dataset.SourceInstanceSequence) == 7
    assert dataset.BurnedInAnnotation == "YES"


def test_what_is_no_pdf_is_refused_and_nothing_written(made, tmp_path):
    with pytest.raises(FormatError, match="no PDF"):
        write_dicom(
            tmp_path / "out", "c", made.findings, ALGORITHM, Wanted(rtstruct=True), pdf=b"<html>"
        )
    assert not (tmp_path / "out").exists()


def test_a_stop_in_the_middle_leaves_nothing(made, tmp_path, monkeypatch):
    save = pydicom.Dataset.save_as
    saved = []

    def once(dataset, path, **settings):
        if saved:
            raise OSError("disk full")
        saved.append(path)
        save(dataset, path, **settings)

    monkeypatch.setattr(pydicom.Dataset, "save_as", once)
    with pytest.raises(OSError, match="disk full"):
        write_dicom(tmp_path / "out", "c", made.findings, ALGORITHM, Wanted(rtstruct=True), pdf=PDF)
    assert len(saved) == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_a_header_that_cannot_be_repeated_is_one_message(tmp_path):
    pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")
    make_series(tmp_path / "ct")
    edit_headers(tmp_path / "ct", lambda d, n: setattr(d, "SOPClassUID", "1.2.3"))
    made = segmented(tmp_path / "ct", stored_indices())
    with pytest.raises(FormatError, match="no DICOM SEG can be made from this series"):
        write_dicom(tmp_path / "out", "c", made.findings, ALGORITHM, Wanted(seg=True))
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_named(monkeypatch):
    real = importlib.import_module

    def absent(name, *more):
        if name == "highdicom":
            raise ModuleNotFoundError("No module named 'highdicom'", name=name)
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'medseg\[dicom\]'"):
        Wanted(sr=True).check()
    Wanted(rtstruct=True).check()  # pydicom alone


def test_names_follow_from_what_is_wanted():
    assert Wanted(sr=True).names("a") == ("a_seg.dcm", "a_sr.dcm")
    assert Wanted(labelmap=True, rtstruct=True).names("a") == ("a_seg.dcm", "a_rtstruct.dcm")
    assert Wanted().names("a") == ()


def test_importing_the_package_does_not_import_highdicom(monkeypatch):
    real = builtins.__import__

    def refuse(name, *more, **settings):
        assert not name.startswith("highdicom")
        return real(name, *more, **settings)

    monkeypatch.setattr(builtins, "__import__", refuse)
    importlib.reload(write)
