"""Programs of the DICOM world read what we write: dicom3tools' dciodvfy, dcmtk's dsrdump."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from medseg.dicom_out import Wanted, write_dicom
from tests.dicom_out.series import ALGORITHM, make_series

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    made = make_series(folder / "ct")
    wanted = Wanted(sr=True, rtstruct=True, capture=True)
    write_dicom(folder, "case", made.findings, ALGORITHM, wanted, pdf=b"%PDF-1.4")
    return folder


def run(program, *arguments):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: dicom3tools, dcmtk)")
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, errors="replace", timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("kind", "iod"),
    [
        ("seg", "Segmentation"),
        ("sr", "Comprehensive3DSR"),
        ("rtstruct", "RTStructureSet"),
        ("report", "EncapsulatedPDF"),
        ("capture", "MultiframeTrueColorSCImage"),
    ],
)
def test_dciodvfy_finds_no_error(folder, kind, iod):
    code, out, err = run("dciodvfy", "-new", str(folder / f"case_{kind}.dcm"))
    lines = (out + err).splitlines()
    assert iod in lines
    assert [line for line in lines if line.startswith(("Error", "Abort"))] == []
    assert code == 0


def test_dsrdump_reads_the_report(folder):
    code, out, err = run("dsrdump", str(folder / "case_sr.dcm"))
    assert code == 0
    assert not [line for line in err.splitlines() if line.startswith(("E:", "F:"))]
    assert "Imaging Measurement Report" in out
    assert out.count('"Referenced Segment"') == 3
