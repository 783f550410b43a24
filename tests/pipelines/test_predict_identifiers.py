"""`medseg predict` and `evaluate` over DICOM tell nobody who the patients are, unless asked to."""

from __future__ import annotations

import csv
import shutil
import stat
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medseg.errors import ConfigError
from medseg.export.load import load_predictor
from medseg.geometry.volume import Volume
from medseg.identifiers import case_pseudonym
from medseg.model_folder import read_model_folder
from medseg.phantom.dicom_files import write_dicom_series
from medseg.pipelines import cli
from medseg.pipelines.export import _prepare
from medseg.pipelines.mask_pairs import find_pairs
from medseg.pipelines.predict import predict
from medseg.pipelines.predict_inputs import find_cases
from medseg.pipelines.predict_record import RECORD
from medseg.pipelines.predict_watch import FAILURES, watch
from medseg.pipelines.shown_names import write_names
from tests.dicom_out.series import edit_headers, oblique_affine
from tests.inference.toys import install, make_model_folder, make_plan
from tests.pipelines.test_identifiers import contents
from tests.reporting.examples import without_pictures

HEADER = {
    "PatientName": "Rosencreutz^Balthasar",
    "PatientID": "Q4711X",
    "PatientBirthDate": "19230117",
    "StudyDate": "20070809",
    "AccessionNumber": "ACC88812",
}
SECRETS = (
    "rosencreutz",
    "balthasar",
    "q4711x",
    "19230117",
    "17.01.1923",
    "20070809",
    "2007-08-09",
    "acc88812",
)
PLACES = ("Rosencreutz_Balthasar", "17.01.1923", "plain", "study 2007-08-09/Q4711X_CT")


@pytest.fixture(autouse=True)
def _toy_network(monkeypatch):
    monkeypatch.delenv("MEDSEG_IDENTIFIER_KEY", raising=False)
    monkeypatch.setattr("medseg.reporting.pdf.why_no_pdf", lambda: "none in this test")
    install(monkeypatch)


@pytest.fixture
def model(tmp_path):
    plan = make_plan(spacing=(0.8, 0.9, 2.5), patch_size=(4, 4, 4))
    return make_model_folder(tmp_path / "run", plan).parent


def write_scan(folder: Path, seed: int = 0, **header: str) -> Path:
    """Write a small series whose header and file names tell everything."""
    data = np.zeros((1, 7, 6, 5), np.int16)
    data[0, 2:5, 2:4, 1:3] = 1
    volume = Volume(data=data, affine=oblique_affine())
    write_dicom_series(folder, volume, patient="P", seed=seed)

    def fill(dataset, _):
        for keyword, value in {**HEADER, **header}.items():
            setattr(dataset, keyword, value)
        del dataset.FrameOfReferenceUID  # there is a warning about that, with the path

    edit_headers(folder, fill)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"ROSENCREUTZBALTHASAR{number:04d}.dcm")
    return folder


@pytest.fixture
def clinic(tmp_path):
    """Four whole series, and one of which a file is cut short."""
    for seed, place in enumerate(PLACES):
        write_scan(tmp_path / "clinic" / place, seed)
    broken = write_scan(tmp_path / "clinic" / "Rosencreutz" / "2nd", 9)
    last = sorted(broken.iterdir())[-1]
    last.write_bytes(last.read_bytes()[:300])
    return tmp_path / "clinic"


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != RECORD)


def test_no_name_and_no_text_of_what_predict_writes_tells_who_it_was(
    tmp_path, model, clinic, capfd
):
    pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")
    out, table = tmp_path / "out", tmp_path / "own" / "names.csv"
    line = ["predict", str(model), str(clinic), "-o", str(out), "--device", "cpu", "--debug"]
    line += ["--report", "--dicom-seg", "--dicom-sr", "--dicom-capture", "--rtstruct"]
    line += ["--maps", "entropy", "--names", str(table)]
    with without_pictures():
        assert cli.main(line) == 3
        first = capfd.readouterr()
        assert "4 predicted, 0 there already, 1 set aside" in first.err
        assert cli.main(line) == 3
    second = capfd.readouterr()
    assert "0 predicted, 4 there already, 1 set aside" in second.err, "names stay the same"
    log = first.out + first.err + second.out + second.err
    assert "FrameOfReferenceUID" in log, "the warning that used to show the path"
    assert "plain" in log, "what tells nothing keeps its name"
    assert "3 of 4 cases are called by a hash" in first.err
    files = contents(out)
    assert {out / "plain.nii.gz", out / "plain_seg.dcm", out / "report/index.html"} <= files.keys()
    assert {out / "maps/plain_entropy.nii.gz", out / "report/cases/plain.json"} <= files.keys()
    assert len([path for path in files if path.name.endswith("_seg.dcm")]) == len(PLACES)
    for secret in SECRETS:
        assert secret not in log.lower()
        for path, data in files.items():
            assert secret not in str(path.relative_to(out)).lower()
            if path.suffix != ".dcm":  # made for the archive, which files them by patient
                assert secret.encode() not in data.lower(), path
    with table.open() as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    assert {Path(row["input"]).relative_to(clinic).as_posix() for row in rows.values()} == {*PLACES}
    assert all((out / f"{case}.nii.gz").is_file() for case in rows)
    made = pydicom.dcmread(out / "plain_seg.dcm")
    assert made.PatientID == HEADER["PatientID"]


def test_a_kept_name_is_that_of_the_folder(tmp_path, model, clinic, capfd):
    shutil.rmtree(clinic / "Rosencreutz")
    out = tmp_path / "out"
    line = ["predict", str(model), str(clinic), "-o", str(out), "--device", "cpu"]
    assert cli.main([*line, "--identifiers", "keep"]) == 0
    assert names(out) == [
        "17.01.1923.nii.gz", "Rosencreutz_Balthasar.nii.gz", "plain.nii.gz",
        "study 2007-08-09_Q4711X_CT.nii.gz",
    ]  # fmt: skip
    assert "case Rosencreutz_Balthasar: (" in capfd.readouterr().err


def test_an_id_is_that_of_a_run_over_the_same_series(clinic):
    cases, aside = find_cases(clinic, ["image"], 3)
    (named,) = [one for one in cases if one.image[0].path.name == "Rosencreutz_Balthasar"]
    assert named.id == case_pseudonym("Rosencreutz_Balthasar", named.image[0].series)
    again, _ = find_cases(clinic / "Rosencreutz_Balthasar", ["image"], 3)
    assert [one.id for one in again] == [named.id], "whichever folder is given"
    assert [one.case[:5] for one in aside] == ["case-"]


def test_single_files_and_lists_are_named_by_the_same_rule(tmp_path, clinic):
    file = next((clinic / "plain").iterdir())
    (one,), _ = find_cases(file, ["image"], 3)
    assert one.id.startswith("case-")
    (tmp_path / "list.csv").write_text(
        "case,image\nBalthasar,clinic/plain\nscan 7,clinic/17.01.1923\n"
    )
    found, _ = find_cases(tmp_path / "list.csv", ["image"], 3)
    assert [case.id[:5] for case in found] == ["case-", "scan "]
    kept, _ = find_cases(tmp_path / "list.csv", ["image"], 3, "keep")
    assert [case.id for case in kept] == ["Balthasar", "scan 7"]


def test_an_identity_that_was_removed_and_a_file_without_header_keep_their_names(tmp_path):
    write_scan(tmp_path / "in" / "Rosencreutz", PatientIdentityRemoved="YES")
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    nib.save(image, tmp_path / "in" / "Balthasar.nii")
    cases, _ = find_cases(tmp_path / "in", ["image"], 3)
    assert [case.id for case in cases] == ["Balthasar", "Rosencreutz"]


def test_the_table_of_names_grows_is_private_and_stays_out_of_the_predictions(
    tmp_path, model, clinic
):
    with pytest.raises(ConfigError, match="which is to hold no names"):
        predict(model, clinic, tmp_path / "out", names=tmp_path / "out" / "names.csv")
    assert not (tmp_path / "out").exists()
    cases, _ = find_cases(clinic, ["image"], 3)
    table = tmp_path / "names.csv"
    write_names(table, cases[:2])
    write_names(table, cases[1:])
    with table.open() as stream:
        assert [row["case"] for row in csv.DictReader(stream)] == [case.id for case in cases]
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    table.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="is no table of case, input, series"):
        write_names(table, cases)


def test_a_watched_folder_is_predicted_and_its_failures_listed_without_names(
    tmp_path, model, clinic
):
    shutil.rmtree(clinic / "study 2007-08-09")
    out = tmp_path / "out"
    folder = read_model_folder(model)
    looks = iter((None, None))

    class Silent:
        def advance(self, amount=1.0, *, note=""):
            pass

    def sleep(_):
        if next(looks, 0) == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(
            folder, load_predictor(folder, "cpu"), clinic, out, every_s=1, bar=Silent(),
            names=tmp_path / "names.csv", sleep=sleep,
        )  # fmt: skip
    found = names(out)
    assert FAILURES in found
    assert "plain.nii.gz" in found
    assert len([name for name in found if name.startswith("case-")]) == 2
    text = (out / FAILURES).read_text().lower()
    assert "case-" in text
    assert not [secret for secret in SECRETS if secret in text]
    assert len((tmp_path / "names.csv").read_text().splitlines()) == 4


def test_masks_of_a_named_patient_are_evaluated_under_a_hash(tmp_path, model, clinic):
    pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")
    from medseg.dicom_out import Wanted

    made = tmp_path / "made"
    predict(model, clinic / "plain", made, device="cpu", dicom=Wanted(seg=True))
    seg = made / "plain_seg.dcm"
    for side, name in (("a", "Balthasar"), ("b", "Balthasar"), ("b", "Rosencreutz")):
        (tmp_path / side).mkdir(exist_ok=True)
        shutil.copy(seg, tmp_path / side / f"{name}.dcm")
    (pair,), (alone,) = find_pairs(tmp_path / "a", tmp_path / "b")
    assert pair.case.startswith("case-")
    for secret in SECRETS:
        assert secret not in f"{alone.case} {alone.reason}".lower()
    assert find_pairs(tmp_path / "a", tmp_path / "b")[0] == [pair]
    assert find_pairs(tmp_path / "a", tmp_path / "b", "keep")[0][0].case == "Balthasar"


def test_an_exported_model_does_not_name_the_image_it_was_checked_on(model, clinic):
    folder = read_model_folder(model)
    assert _prepare(clinic / "Rosencreutz_Balthasar", folder).name.startswith("case-")
