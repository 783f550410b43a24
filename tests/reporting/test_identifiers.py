"""Who the patient is reaches no page, no JSON and no file name, from a DICOM header either."""

import base64
import gzip
import re

import numpy as np

from medseg.case import Case, ImageFile
from medseg.geometry.volume import Volume
from medseg.io.store import write_array
from medseg.phantom.dicom_files import write_dicom_series
from medseg.reporting.assess import assess_case
from medseg.reporting.case_report import load_report
from medseg.reporting.cohort_page import Cohort
from medseg.reporting.write import ReportInput, write_report
from tests.reporting.examples import SCHEME, about, label_map

NAME, DESCRIPTION = "Doe^Jane", "SECRET 1971-02-03"


def written(folder):
    """Write the report of one DICOM series whose header names the patient."""
    values = np.random.default_rng(0).normal(40, 30, (1, 16, 14, 10)).astype(np.int16)
    affine = np.diag([-1.0, -2.0, 4.0, 1.0])
    series = folder / "series"
    write_dicom_series(
        series, Volume(data=values, affine=affine), patient=NAME, description=DESCRIPTION
    )
    assert NAME.encode() in next(series.iterdir()).read_bytes()
    out = folder / "out"
    out.mkdir()
    found = assess_case(
        out=out,
        case=Case(id="case_1", image=(ImageFile(path=series),), group=NAME),
        pred=write_array(out / "pred.b2nd", label_map()),
        scheme=SCHEME,
        modality="CT",
        role="predict",
        fold=None,
        digest="x",
    )
    cohort = Cohort(
        reports=(load_report(found.report),), summaries={}, usual={}, set_aside=(), decisions=(),
        rules=(), histories={},
    )  # fmt: skip
    inputs = {"case_1": ReportInput(folder=out, identifiers={})}
    return write_report(folder / "report", cohort, about(), inputs, ("background", "a", "b"))


def test_a_filled_in_header_leaves_no_trace(tmp_path):
    files = written(tmp_path)
    every = [path for path in files.folder.rglob("*") if path.is_file()]
    assert {path.name for path in every} >= {"case_1.html", "case_1.json", "index.html"}
    for path in every:
        text = re.sub(r"[A-Za-z0-9+/=]{200,}", "", path.read_text(encoding="utf-8"))  # no base64
        for secret in ("Doe", "Jane", "SECRET", "1971", str(tmp_path)):
            assert secret not in text, (path, secret)
            assert secret not in str(path.relative_to(files.folder))


def test_the_volumes_inside_the_page_name_nobody(tmp_path):
    page = (written(tmp_path).folder / "cases" / "case_1.html").read_text(encoding="utf-8")
    packed = re.findall(r'<script[^>]* id="viewer-(?:image|pred)">([^<]*)</script>', page)
    assert len(packed) == 2
    for one in packed:
        header = gzip.decompress(base64.b64decode(one))[:352]
        assert header[148:252] == bytes(104), "the fields for text are empty"
