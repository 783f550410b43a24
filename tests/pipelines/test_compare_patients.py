"""`medseg compare`: scans of one patient count once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.metrics.bootstrap import bootstrap_interval
from medseg.metrics.paired import patient_differences
from tests.pipelines.metric_tables import A, B, compare, document, name_patients, table, write
from tests.reporting.examples import Page

TWO_EACH = {f"c{i}": f"patient-{i // 2:03d}" for i in range(8)}
"""c0 and c1 are of one patient, and so on."""
DIFFERENCES = np.array([0.005, 0.035, 0.065, 0.03])
"""Of A and B, two cases averaged: (-.01 + .02) / 2, (.06 + .01) / 2, (.12 + .01) / 2, ..."""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_differences_of_one_patient_are_averaged_first() -> None:
    for run, values in (("a", A), ("b", B)):
        write(run, {"dice": values})
        name_patients(Path(run), TWO_EACH)
    assert compare("a", "b") == 0
    row = table()["b", "liver", "dice"]
    low, high = bootstrap_interval(DIFFERENCES)
    assert float(row["mean_difference"]) == pytest.approx(0.03375), "equal sizes: the same mean"
    assert float(row["mean_low"]) == pytest.approx(low)
    assert float(row["mean_high"]) == pytest.approx(high)
    assert float(row["median_difference"]) == pytest.approx((0.03 + 0.035) / 2)
    assert (row["n"], row["second_better"], row["first_better"]) == ("4", "4", "0")
    assert float(row["p"]) == 0.125, "2 / 2^4: all four point one way"
    assert "4 pair(s) differ" in row["verdict"], "eight scans said p = 0.031"
    assert document()["patients"] == 4
    words = Page(Path("comparison/comparison.html").read_text()).words
    assert "The cases are scans of 4 patients" in words
    assert "10,000 draws over patients" in words


def test_an_old_table_beside_a_new_one_still_compares() -> None:
    write("a", {"dice": A})
    write("b", {"dice": B})
    name_patients(Path("b"), TWO_EACH)
    assert compare("a", "b") == 0
    assert table()["b", "liver", "dice"]["n"] == "4"
    assert document()["warnings"] == []


def test_without_patients_every_case_counts_and_the_page_says_so() -> None:
    write("a", {"dice": A})
    write("b", {"dice": B})
    assert compare("a", "b") == 0
    assert table()["b", "liver", "dice"]["n"] == "8"
    assert document()["patients"] is None
    words = Page(Path("comparison/comparison.html").read_text()).words
    assert "The tables name no patients" in words


def test_other_names_for_the_same_patients_are_no_contradiction() -> None:
    write("a", {"dice": A})
    write("b", {"dice": B})
    name_patients(Path("a"), TWO_EACH)
    name_patients(Path("b"), {case: f"other {name}" for case, name in TWO_EACH.items()})
    assert compare("a", "b") == 0
    assert document()["warnings"] == []


def test_runs_that_disagree_on_patients_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    write("a", {"dice": A})
    write("b", {"dice": B})
    name_patients(Path("a"), TWO_EACH)
    name_patients(Path("b"), {"c0": "x", "c7": "x"})
    assert compare("a", "b") == 0
    assert table()["b", "liver", "dice"]["n"] == "4"
    assert "do not agree on which cases are of one patient" in capsys.readouterr().err


def test_a_case_of_two_patients_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write("a", {"dice": A})
    name_patients(Path("a"), TWO_EACH)
    file = Path("a/report/metrics.csv")
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[1].replace("liver", "tumour").replace("000", "001")]))
    write("b", {"dice": B})
    assert compare("a", "b") == 2
    assert "case c0 is of two patients (patient-000, patient-001)" in capsys.readouterr().err


def test_a_case_without_a_name_is_a_patient_of_its_own() -> None:
    pairs = {"a": (0.0, 1.0), "b": (0.0, 3.0), "c": (0.0, 5.0)}
    assert patient_differences(pairs, {"a": "x", "b": "x"}).tolist() == [2.0, 5.0]
    assert patient_differences(pairs).tolist() == [1.0, 3.0, 5.0]
    assert patient_differences({}, {}).tolist() == []
