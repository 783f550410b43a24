import csv

import numpy as np

from medseg.reporting.cohort_page import Cohort
from medseg.reporting.tables import summaries_by_role
from medseg.reporting.write import ReportInput, write_report
from tests.reporting.examples import about, label_map, report

NAMES = ("background", "liver", "tumour")


def write(folder, reports):
    cohort = Cohort(
        reports=tuple(reports),
        summaries=summaries_by_role(reports),
        usual={},
        set_aside=(),
        decisions=(),
        rules=(),
        history=None,
    )
    inputs = {r.case: ReportInput(folder=folder / r.case, identifiers={}) for r in reports}
    return write_report(folder / "report", cohort, about(), inputs, NAMES)


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
