"""Pages of predicted cases, from the model folder alone; their PDF in the study."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medseg.dicom_out import Wanted
from medseg.errors import ConfigError
from medseg.pipelines import cli
from medseg.pipelines.predict import predict
from medseg.pipelines.predict_record import RECORD
from medseg.reporting.background import Background, write_background
from medseg.reporting.pdf import why_no_pdf
from medseg.reporting.scan_checks import TrainingScans
from tests.dicom_out.series import edit_headers
from tests.inference.toys import install, make_model_folder, make_plan
from tests.pipelines.test_predict_dicom import write_scan
from tests.reporting.examples import without_pictures

needs_pdf = pytest.mark.skipif(bool(why_no_pdf()), reason="the extra 'report' is not installed")


@pytest.fixture(autouse=True)
def _toy_network(monkeypatch):
    install(monkeypatch)


@pytest.fixture
def model(tmp_path):
    return make_model_folder(tmp_path / "run", make_plan(spacing=(1, 1, 1), patch_size=(8, 8, 8)))


@pytest.fixture
def no_pdf(monkeypatch):
    """Leave out what takes time and has tests of its own: PDF and pictures."""
    monkeypatch.setattr("medseg.reporting.pdf.why_no_pdf", lambda: "no weasyprint")
    with without_pictures():
        yield


def write_nifti(path, block=np.s_[4:8, 4:8, 4:8]):
    data = np.zeros((12, 12, 12), np.int16)
    data[block] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1, 1, 1])), path)
    return path


def test_a_case_gets_page_and_json_and_stands_in_the_list(tmp_path, model, no_pdf):
    known = TrainingScans(
        orientations=("RAS",), spacing_low=(1, 1, 1), spacing_high=(1, 1, 1), tilt_degrees=0.0,
        intensity=(5.0, 9.0),
    )  # fmt: skip
    errors = {"bright": (-0.1, -0.05, 0.0, 0.05, 0.1)}
    write_background(model, Background(training=known, usual={"bright": 1}, volume_errors=errors))
    scan, out = write_nifti(tmp_path / "in" / "a.nii.gz"), tmp_path / "out"
    line = ["predict", str(model), str(scan.parent), "-o", str(out), "--device", "cpu"]
    assert cli.main([*line, "--report"]) == 0
    found = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    pages = ["report/cases/a.html", "report/cases/a.json", "report/index.html"]
    assert found == ["a.nii.gz", RECORD, *pages]
    facts = json.loads((out / "report/cases/a.json").read_text())
    (bright,) = facts["structures"]
    assert bright["volume_ml"] == pytest.approx(0.064)
    interval = bright["volume_interval"]
    # mean 0, sd of the five errors 0.0791, t(4) 2.776: exp(2.776 * 0.0791 * sqrt(6 / 5)) = 1.272
    assert interval["high_ml"] == pytest.approx(0.064 * 1.272, rel=1e-3)
    states = {check["name"]: check["state"] for check in facts["checks"]}
    assert states["Intensities"] == "look here", "1 lies outside 5 to 9"
    assert states["Voxel spacing"] == "passed"
    page = (out / "report/cases/a.html").read_text()
    assert "Not for diagnostic use" in page
    assert "the model was trained on images that a program generated" in page
    assert "no reference for this case" in page
    assert 'href="cases/a.html"' in (out / "report/index.html").read_text()


def test_without_what_the_cohort_knows_nothing_is_assessable(tmp_path, model, no_pdf):
    predict(model, write_nifti(tmp_path / "a.nii.gz"), tmp_path / "o", device="cpu", report=True)
    facts = json.loads((tmp_path / "o/report/cases/a.json").read_text())
    assert "volume_interval" not in facts["structures"][0]
    assert {c["state"] for c in facts["checks"][1:]} == {"not assessable"}


def test_what_lacks_its_page_is_not_done(tmp_path, model, no_pdf):
    scan, out = write_nifti(tmp_path / "a.nii.gz"), tmp_path / "out"
    predict(model, scan, out, device="cpu")
    assert len(predict(model, scan, out, device="cpu", report=True).written) == 1
    (out / "report" / "index.html").unlink()
    assert len(predict(model, scan, out, device="cpu", report=True).skipped) == 1
    assert (out / "report" / "index.html").is_file(), "the list is written in any case"


def test_a_case_set_aside_stands_in_the_list_without_its_path(tmp_path, model, no_pdf):
    write_nifti(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"cut short")
    result = predict(model, tmp_path / "in", tmp_path / "out", device="cpu", report=True)
    assert [one.case for one in result.set_aside] == ["b"]
    page = (tmp_path / "out/report/index.html").read_text()
    assert "1 set aside" in page
    assert str(tmp_path) not in page


def test_a_damaged_cohort_file_is_one_error_before_anything_is_written(tmp_path, model, no_pdf):
    (model / "cohort.json").write_text('{"usual": {"bright": "many"}}')
    with pytest.raises(ConfigError, match=r"cohort\.json: not readable"):
        predict(model, write_nifti(tmp_path / "a.nii.gz"), tmp_path / "o", report=True)
    assert not (tmp_path / "o").exists()


@needs_pdf
def test_the_pdf_joins_the_study_of_the_series(tmp_path):
    pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")
    plan = make_plan(spacing=(0.8, 0.9, 2.5), patch_size=(4, 4, 4))
    model = make_model_folder(tmp_path / "run", plan).parent
    scan, out = write_scan(tmp_path / "s1"), tmp_path / "out"
    predict(model, scan, out, device="cpu", report=True, dicom=Wanted(seg=True))
    assert sorted(p.name for p in out.iterdir()) == [
        RECORD, "report", "s1.nii.gz", "s1_report.dcm", "s1_seg.dcm",
    ]  # fmt: skip
    made, source = pydicom.dcmread(out / "s1_report.dcm"), pydicom.dcmread(next(scan.iterdir()))
    assert made.StudyInstanceUID == source.StudyInstanceUID
    assert made.PatientID == source.PatientID
    assert len(made.SourceInstanceSequence) == 5
    pdf = (out / "report" / "cases" / "s1.pdf").read_bytes()
    assert made.EncapsulatedDocument[: made.EncapsulatedDocumentLength] == pdf
    assert len(predict(model, scan, out, report=True, dicom=Wanted(seg=True)).skipped) == 1


@needs_pdf
def test_dicom_pdf_alone_needs_no_highdicom_and_an_object_that_cannot_be_made_leaves_no_page(
    tmp_path,
):
    plan = make_plan(spacing=(0.8, 0.9, 2.5), patch_size=(4, 4, 4))
    model = make_model_folder(tmp_path / "run", plan).parent
    scan, out = write_scan(tmp_path / "s1"), tmp_path / "out"
    line = ["predict", str(model), str(scan), "-o", str(out), "--device", "cpu", "--dicom-pdf"]
    assert cli.main(line) == 0
    assert sorted(p.name for p in out.iterdir()) == [RECORD, "report", "s1.nii.gz", "s1_report.dcm"]
    edit_headers(scan, lambda d, n: setattr(d, "PatientID", "2") if n == 1 else None)
    result = predict(model, scan, tmp_path / "other", dicom=Wanted(pdf=True))
    assert "another PatientID" in result.set_aside[0].reason
    assert not (tmp_path / "other/report/cases/s1.html").exists()
