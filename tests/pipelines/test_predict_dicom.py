from __future__ import annotations

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medseg.dicom_out import Wanted
from medseg.errors import ConfigError
from medseg.geometry.volume import Volume
from medseg.phantom.dicom_files import write_dicom_series
from medseg.pipelines import cli
from medseg.pipelines.predict import predict
from medseg.pipelines.predict_record import RECORD
from tests.dicom_out.series import edit_headers, oblique_affine
from tests.inference.toys import install, make_model_folder, make_plan

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

BLOCK = np.s_[2:5, 3:6, 1:3]
ALL = Wanted(sr=True, rtstruct=True, capture=True)


@pytest.fixture(autouse=True)
def _toy_network(monkeypatch):
    install(monkeypatch)


@pytest.fixture
def model(tmp_path):
    plan = make_plan(spacing=(0.8, 0.9, 2.5), patch_size=(4, 4, 4))
    return make_model_folder(tmp_path / "run", plan).parent


def write_scan(folder, value=1):
    data = np.zeros((1, 9, 8, 5), np.int16)
    data[0][BLOCK] = value
    write_dicom_series(folder, Volume(data=data, affine=oblique_affine()), patient="P^1")
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != RECORD)


def nifti_points(path):
    image = nib.load(path)
    found = nib.affines.apply_affine(image.affine, np.argwhere(np.asanyarray(image.dataobj)))
    return found[np.lexsort(np.round(found, 2).T)]


def seg_points(path):
    import highdicom

    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    found = np.argwhere(volume.array) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    found = found * [-1, -1, 1]
    return found[np.lexsort(np.round(found, 2).T)]


def test_the_command_writes_objects_beside_the_prediction(tmp_path, model):
    scan, out = write_scan(tmp_path / "s1"), tmp_path / "out"
    line = ["predict", str(model), str(scan), "-o", str(out), "--device", "cpu"]
    assert cli.main([*line, "--dicom-seg", "--dicom-sr", "--rtstruct"]) == 0
    assert names(out) == ["s1.nii.gz", "s1_rtstruct.dcm", "s1_seg.dcm", "s1_sr.dcm"]
    np.testing.assert_allclose(
        seg_points(out / "s1_seg.dcm"), nifti_points(out / "s1.nii.gz"), atol=1e-3
    )
    assert len(nifti_points(out / "s1.nii.gz")) == 3 * 3 * 2
    assert pydicom.dcmread(out / "s1_seg.dcm").SegmentationType == "BINARY"


def test_labelmap_alone_writes_a_label_map(tmp_path, model):
    scan, out = write_scan(tmp_path / "s1"), tmp_path / "out"
    line = ["predict", str(model), str(scan), "-o", str(out), "--device", "cpu"]
    assert cli.main([*line, "--labelmap"]) == 0
    assert pydicom.dcmread(out / "s1_seg.dcm").SegmentationType == "LABELMAP"


def test_what_is_no_dicom_is_one_error_and_nothing_is_written(tmp_path, model):
    folder = tmp_path / "mixed"
    write_scan(folder / "s1")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4)), folder / "a.nii.gz")
    with pytest.raises(ConfigError, match=r"a\.nii\.gz: DICOM objects are made for DICOM series"):
        predict(model, folder / "a.nii.gz", tmp_path / "out", device="cpu", dicom=ALL)
    assert not (tmp_path / "out").exists()


def test_a_series_of_two_patients_is_set_aside_and_nothing_is_written(tmp_path, model):
    scan = write_scan(tmp_path / "s1")
    edit_headers(scan, lambda d, n: setattr(d, "PatientID", "2") if n == 1 else None)
    result = predict(model, scan, tmp_path / "out", device="cpu", dicom=ALL)
    assert result.written == ()
    assert "another PatientID" in result.set_aside[0].reason
    assert names(tmp_path / "out") == []


def test_a_header_no_object_can_be_made_from_leaves_nothing_behind(tmp_path, model):
    scan = write_scan(tmp_path / "s1")
    edit_headers(scan, lambda d, n: setattr(d, "SOPClassUID", "1.2.3"))
    result = predict(model, scan, tmp_path / "out", device="cpu", dicom=ALL)
    assert "no DICOM SEG can be made" in result.set_aside[0].reason
    assert names(tmp_path / "out") == []


def test_what_lacks_its_objects_is_not_done(tmp_path, model):
    scan, out = write_scan(tmp_path / "s1"), tmp_path / "out"
    predict(model, scan, out, device="cpu")
    assert names(out) == ["s1.nii.gz"]
    assert len(predict(model, scan, out, device="cpu", dicom=ALL).written) == 1
    assert len(predict(model, scan, out, device="cpu", dicom=ALL).skipped) == 1


def test_objects_of_an_earlier_prediction_do_not_stay(tmp_path, model):
    out = tmp_path / "out"
    predict(model, write_scan(tmp_path / "s1"), out, device="cpu", dicom=ALL)
    predict(model, write_scan(tmp_path / "s1", 0), out, device="cpu", dicom=ALL, overwrite=True)
    assert names(out) == ["s1.nii.gz", "s1_sr.dcm"]
