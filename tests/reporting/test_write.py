import csv

import numpy as np

from medseg.reporting.cohort_page import Cohort
from medseg.reporting.tables import summaries_by_role
from medseg.reporting.write import PageOptions, ReportInput, write_report
from tests.reporting.examples import about, label_map, report

NAMES = ("background", "liver", "tumour")


def write(folder, reports, options=PageOptions(viewer=False)):  # noqa: B008
    cohort = Cohort(
        reports=tuple(reports),
        summaries=summaries_by_role(reports),
        usual={},
        set_aside=(),
        decisions=(),
        rules=(),
        histories={},
    )
    inputs = {r.case: ReportInput(folder=folder / r.case, identifiers={}) for r in reports}
    return write_report(folder / "report", cohort, about(), inputs, NAMES, options)


def test_the_folder_holds_what_users_are_promised(tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "stale.html").write_text("from a killed run")
    files = write(tmp_path, [report(tmp_path, "a", label_map(), label_map())])
    found = {str(p.relative_to(files.folder)) for p in files.folder.rglob("*") if p.is_file()}
    assert found == {
        "index.html",
        "metrics.csv",
        "summary.json",
        "cases/a.html",
        "cases/a.json",
    }
    assert files.headline["test/dice/mean"] == 1.0


def test_photographs_have_one_confusion_matrix_over_the_test_cases(tmp_path):
    label = label_map((16, 14))
    wrong = np.where(label == 2, 1, label).astype(np.int16)
    reports = [
        report(tmp_path, "a", label, label),
        report(tmp_path, "b", wrong, label),
        report(tmp_path, "c", wrong, label, role="validation"),
    ]
    files = write(tmp_path, reports)
    with (files.folder / "confusion.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["truth", *NAMES],
        ["background", "352", "0", "0"],
        ["liver", "0", "94", "0"],
        ["tumour", "0", "1", "1"],
    ]


def test_the_pdf_is_made_of_the_same_page_without_the_viewer(tmp_path, monkeypatch):
    monkeypatch.setattr("medseg.reporting.write.pdf_bytes", lambda html: html.encode())
    made = report(tmp_path, "a", label_map(), label_map(), pictures=True)
    files = write(tmp_path, [made], PageOptions(pdf=True))
    page = (files.folder / "cases" / "a.html").read_text(encoding="utf-8")
    printed = (files.folder / "cases" / "a.pdf").read_text(encoding="utf-8")
    assert 'id="viewer-start"' in page
    assert 'id="viewer-start"' not in printed
    assert "All cases" not in printed, "a link to another file"
    for words in ("<h2>What was found</h2>", "Not for diagnostic use", "surface of the predicted"):
        assert words in page
        assert words in printed
