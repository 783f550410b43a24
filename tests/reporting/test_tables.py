import csv
import json
import math

import numpy as np
import pytest

from medseg.reporting.case_context import case_contexts
from medseg.reporting.tables import (
    column,
    headline,
    headline_role,
    summaries_by_role,
    write_case_json,
    write_confusion,
    write_json,
    write_metrics,
    write_summary,
)
from tests.reporting.examples import info, label_map, report

COLUMNS = [
    "case",
    "label",
    "split",
    "fold",
    "status",
    "dice",
    "iou",
    "precision",
    "recall",
    "hd_mm",
    "hd95_mm",
    "assd_mm",
    "nsd",
    "nsd_tolerance_mm",
    "volume_ml",
    "reference_volume_ml",
    "volume_error_ml",
    "relative_volume_error",
    "components",
]


@pytest.fixture
def cases(tmp_path):
    label = label_map()
    missed = np.where(label == 2, 1, label).astype(np.int16)
    return (
        report(tmp_path, "good", label, label),
        report(tmp_path, "missed", missed, label),
        report(tmp_path, "checked", label, label, role="validation", fold=0),
        report(tmp_path, "new", label, None, role="predict"),
    )


def read(file):
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_metrics_csv_has_exactly_the_agreed_columns(tmp_path, cases):
    write_metrics(tmp_path / "metrics.csv", cases, "mm")
    rows = read(tmp_path / "metrics.csv")
    assert list(rows[0]) == COLUMNS
    assert [(r["case"], r["label"], r["split"], r["fold"]) for r in rows] == [
        ("good", "liver", "test", ""),
        ("good", "tumour", "test", ""),
        ("missed", "liver", "test", ""),
        ("missed", "tumour", "test", ""),
        ("checked", "liver", "validation", "0"),
        ("checked", "tumour", "validation", "0"),
    ]
    lost = rows[3]
    assert (lost["status"], lost["dice"], lost["hd95_mm"], lost["precision"]) == (
        "missed",
        "0",
        "inf",
        "",
    )
    assert float(rows[1]["volume_ml"]) == pytest.approx(0.008)


def test_photographs_count_in_px(tmp_path):
    label = label_map((16, 14))
    write_metrics(tmp_path / "m.csv", [report(tmp_path, "p", label, label)], "px")
    names = list(read(tmp_path / "m.csv")[0])
    assert names == [name.replace("_mm", "_px").replace("_ml", "_px") for name in COLUMNS]
    assert column("dice", "px") == "dice"


def test_the_summary_is_json_for_everyone(tmp_path, cases):
    write_summary(tmp_path / "s.json", summaries_by_role(cases), info(), "mm")
    summary = strict((tmp_path / "s.json").read_text())
    assert summary["headline"] == "test"
    assert set(summary["splits"]) == {"test", "validation"}
    tumour = summary["splits"]["test"]["labels"]["tumour"]
    assert tumour["counts"] == {"ok": 1, "both_empty": 0, "missed": 1, "false_alarm": 0}
    dice = tumour["metrics"]["dice"]
    assert dice["n"] == 2
    assert dice["mean"] == dice["median"] == 0.5
    assert dice["sd"] == pytest.approx(math.sqrt(0.5))
    assert dice["iqr"] == [0.25, 0.75]
    assert dice["interval_95"] == [0.0, 1.0]
    diagonal = math.sqrt(16**2 + 28**2 + 40**2)
    assert tumour["metrics"]["hd95_mm"]["mean"] == pytest.approx(diagonal / 2)
    assert tumour["metrics"]["hd95_mm"]["penalised"] == 1
    one = summary["splits"]["validation"]["labels"]["liver"]["metrics"]["dice"]
    assert (one["n"], one["mean"], one["sd"]) == (1, 1.0, None)
    assert one["interval_95"] == [None, None]


def test_the_headline_is_of_the_test_cases(cases):
    summaries = summaries_by_role(cases)
    found = headline(summaries, "mm")
    assert found["test/dice/tumour"] == 0.5
    assert found["test/dice/mean"] == pytest.approx((found["test/dice/liver"] + 0.5) / 2)
    assert all(key.startswith("test/") for key in found)
    assert all(math.isfinite(value) for value in found.values())


def test_without_test_cases_validation_speaks_and_says_so(cases):
    summaries = summaries_by_role(cases[2:])
    assert headline_role(summaries) == "validation"
    assert headline(summaries, "mm")["val/dice/mean"] == 1.0


def test_without_reference_there_is_no_headline(cases):
    summaries = summaries_by_role(cases[3:])
    assert headline_role(summaries) is None
    assert headline(summaries, "mm") == {}


def test_a_case_has_its_own_json(tmp_path, cases):
    write_case_json(tmp_path / "c.json", cases[1], info())
    case = strict((tmp_path / "c.json").read_text())
    assert case["case"] == "missed"
    assert case["spacing_mm"] == [1.0, 2.0, 4.0]
    tumour = case["structures"][1]
    assert (tumour["label"], tumour["volume_ml"], tumour["components"]) == ("tumour", 0.0, 0)
    assert tumour["scores"]["status"] == "missed"
    assert tumour["scores"]["hd95_mm"] is None
    write_case_json(tmp_path / "n.json", cases[3], info())
    assert "scores" not in strict((tmp_path / "n.json").read_text())["structures"][0]


def test_the_json_of_a_case_says_what_its_page_says(tmp_path, cases):
    known = case_contexts(cases, {"liver": 0}, None, "CT")["new"]
    write_case_json(tmp_path / "n.json", cases[3], info(), known)
    case = strict((tmp_path / "n.json").read_text())
    liver, tumour = case["structures"]
    assert liver["diameter_mm"] == pytest.approx(cases[3].structures[0].findings.diameter_mm)
    assert liver["volume_interval"]["low_ml"] is None
    assert "there are 1" in liver["volume_interval"]["method"]
    assert tumour["lesions"][0]["position"] == [5.0, 10.0, 20.0]
    assert tumour["lesions"][0]["organ"] == "liver"
    assert "lesions" not in liver
    assert case["checks"][0]["name"] == "Field of view"
    assert any("liver is in 1 pieces" in flag for flag in case["flags"])


def test_what_json_cannot_say_is_null_at_any_depth(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1.0, (math.nan, {"b": -math.inf})]})
    assert strict((tmp_path / "x.json").read_text()) == {"a": [1.0, [None, {"b": None}]]}


def test_a_confusion_matrix_names_its_rows(tmp_path):
    write_confusion(tmp_path / "c.csv", np.array([[3, 1], [0, 2**40]]), ("background", "road"))
    assert read(tmp_path / "c.csv") == [
        {"truth": "background", "background": "3", "road": "1"},
        {"truth": "road", "background": "0", "road": str(2**40)},
    ]
