"""A run over DICOM series with filled-in headers leaves no trace of who the patients are."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from medseg.geometry.volume import Volume
from medseg.phantom.dicom_files import write_dicom_series
from medseg.pipelines import cli
from tests.dicom_out.series import edit_headers
from tests.reporting.examples import without_pictures

CONFIG = """
experiment: secret
pipeline: volume
manifest: {manifest}
network: {{arguments: {{widths: [2, 4]}}}}
patch_sample: {{patch_size: [8, 8, 8], rows: 4}}
resample: {{spacing: [2, 2, 2]}}
train: {{budget: 1it, batch_size: 1, validations: 1, precision: 32-true}}
report: {{viewer: false}}
plan: {{measure: false}}
compute: {{device: cpu, workers: 1}}
"""

MANIFEST = """
name: clinic
reader: dicom
root: clinic
options: {images: "images/**", label_dir: labels}
modality: CT
labels: [{value: 1, name: liver}]
splits: {test: 0.3, folds: 2}
"""

PATIENTS = {
    "scan_a": ("Quux^Amadeus", "Q4711X"),
    "scan_b": ("Quux^Amadeus", "Q4711X"),
    "scan_c": ("Zyzzyva^Clothilde", "Q4712X"),
    "ROSENCREUTZ_Balthasar": ("Rosencreutz^Balthasar", "Q4714X"),
    "ulfilasostrogoth": ("Ostrogoth^Ulfilas", "Q4715X"),
}
DAMAGED = "ulfilasostrogoth"
DATES = {
    "PatientBirthDate": "19230117",
    "StudyDate": "20070809",
    "SeriesDate": "20070810",
    "AccessionNumber": "ACC88812",
}
HOSPITAL = "St. Elsewhere"
AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])


def write_clinic(folder: Path) -> Path:
    """Write series and labels, one of them in a folder named after the patient."""
    for number, (place, (name, patient)) in enumerate(PATIENTS.items()):
        values = np.random.default_rng(number).normal(0, 20, (1, 12, 12, 12)).astype(np.int16)
        label = np.zeros((12, 12, 12), np.uint8)
        label[3:9, 3:9, 3:9] = 1
        values[0][label > 0] += 100

        def fill(dataset, _, name=name, patient=patient):
            dataset.PatientName, dataset.PatientID = name, patient
            dataset.InstitutionName = HOSPITAL
            for keyword, date in DATES.items():
                setattr(dataset, keyword, date)

        series = folder / "images" / place
        write_dicom_series(series, Volume(data=values, affine=AFFINE), patient="x", seed=number)
        edit_headers(series, fill)
        (folder / "labels").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(label, AFFINE), folder / "labels" / f"{place}.nii.gz")
    (folder / "images" / "ROSENCREUTZ_Balthasar" / "notes.txt").write_text("not an image")
    last = sorted((folder / "images" / DAMAGED).iterdir())[-1]
    last.write_bytes(last.read_bytes()[:300])
    return folder


def contents(root: Path) -> dict[Path, bytes]:
    """Read every file below a folder, unpacked, with its own path."""
    found = {}
    for path in (p for p in root.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        found[path] = str(path.relative_to(root)).encode() + b"\n" + data
    return found


def test_a_filled_in_header_leaves_no_trace_in_run_folder_mlflow_and_log(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_clinic(tmp_path / "clinic")
    (tmp_path / "clinic.yaml").write_text(MANIFEST)
    config = tmp_path / "secret.yaml"
    config.write_text(CONFIG.format(manifest=tmp_path / "clinic.yaml"))
    runs = tmp_path / "runs"
    with without_pictures():
        for _ in range(2):  # what was said before is told again
            assert cli.main(["run", str(config), "--runs-dir", str(runs)]) == 3
    assert cli.main(["check", str(config), "--runs-dir", str(runs)]) == 3
    said = capsys.readouterr()
    log = said.out + said.err
    assert "2 of 5 case ids hold the patient's id, name or a date" in log
    assert "nothing to do" in log
    assert "set aside: case case-" in said.out, "what check prints"
    files = contents(runs)
    assert {runs / "mlflow.db", runs / "secret" / "report" / "metrics.csv"} <= files.keys()
    words = {word for name, patient in PATIENTS.values() for word in (*name.split("^"), patient)}
    hidden = {"Rosencreutz", "Balthasar", "Q4714X", "Ostrogoth", "Ulfilas", "Q4715X"}
    for word in {*words, *DATES.values(), "Elsewhere"}:
        assert word.casefold() not in log.casefold(), word
        for path, data in files.items():
            # ids and folders: a stage keeps the path of each image to read it again, nothing else
            if word in hidden and path.is_relative_to(runs / "secret" / "stages"):
                continue
            assert word.casefold().encode() not in data.lower(), (word, path)
    with (runs / "secret" / "report" / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert rows
    assert all(row["patient"].startswith("patient-0") for row in rows)
    predicted = {path.name for path in (runs / "secret" / "predictions").iterdir()}
    assert predicted
    assert all(name.startswith(("scan_", "case-")) for name in predicted)
    assert any(b'"case-' in data for data in files.values()), "the folder's case is in the run"
