"""`medseg compare`: what is tested, what is left out, what is said, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipelines.metric_tables import A, B, compare, document, table, write
from tests.reporting.examples import Page


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_worked_example_through_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    write("a", {"dice": A})
    write("b", {"dice": B}, place="metrics.csv")  # as `medseg evaluate` leaves it
    assert compare("a", "b", "-o", "out") == 0
    row = table("out")["b", "liver", "dice"]
    assert float(row["mean_difference"]) == pytest.approx(0.03375)
    assert float(row["mean_low"]) == pytest.approx(0.01125)
    assert float(row["mean_high"]) == pytest.approx(0.06375)
    assert float(row["median_difference"]) == pytest.approx(0.02)
    assert float(row["wilcoxon_w"]) == 2.5
    assert float(row["p"]) == float(row["p_holm"]) == 0.03125
    assert (row["n"], row["second_better"], row["first_better"], row["equal"]) == (
        ("8", "7", "1", "0")
    )
    said = "b is better by 0.034 on average (95 % interval 0.011 to 0.064)"
    assert said in row["verdict"]
    assert said in capsys.readouterr().out
    assert document("out")["mean_ranks"] == {"b": 1.125, "a": 1.875}
    assert sorted(p.name for p in Path("out").iterdir()) == [
        "comparison.csv",
        "comparison.html",
        "comparison.json",
    ]
    assert sorted(p.name for p in Path().iterdir()) == ["a", "b", "out"]  # nothing left aside


def test_less_is_better_for_distances_and_the_order_of_runs_turns_the_sign() -> None:
    write("a", {"hd95_mm": [10 * (1 - v) for v in A]})
    write("b", {"hd95_mm": [10 * (1 - v) for v in B]})
    assert compare("b", "a") == 0
    row = table()["a", "liver", "hd95_mm"]
    assert float(row["mean_difference"]) == pytest.approx(0.3375)
    assert (row["second_better"], row["first_better"]) == ("1", "7")
    assert row["verdict"].startswith("b is better by 0.34 on average")


def test_volume_errors_are_compared_by_size() -> None:
    write("a", {"relative_volume_error": [-0.3] * 7})
    write("b", {"relative_volume_error": [0.1] * 7})
    assert compare("a", "b") == 0
    row = table()["b", "liver", "relative_volume_error"]
    assert float(row["mean_difference"]) == pytest.approx(-0.2)
    assert row["second_better"] == "7"
    assert row["verdict"].startswith("b is better by 0.200")


def test_holm_counts_every_label_and_metric() -> None:
    columns = {"dice": A, "nsd": A}, {"dice": B, "nsd": A}
    write("a", columns[0])
    write("b", columns[1])
    assert compare("a", "b") == 0
    row = table()["b", "liver", "dice"]
    assert float(row["p"]) == 0.03125
    assert float(row["p_holm"]) == 0.0625
    assert row["verdict"] == (
        "no significant difference: p = 0.062 after Holm's correction (alone it would be p = 0.031)"
    )
    assert document()["tests"] == 2


def test_equal_runs_do_not_differ(capsys: pytest.CaptureFixture[str]) -> None:
    write("x/run", {"dice": A})
    write("y/run", {"dice": A})
    assert compare("x/run", "y/run") == 0
    row = table()["y/run", "liver", "dice"]  # named by what tells them apart
    assert row["verdict"] == "no significant difference: all 8 pairs are equal"
    assert (float(row["p"]), row["equal"]) == (1.0, "8")
    assert "no significant difference" in capsys.readouterr().out
    assert compare("x/run", "x/run") == 0
    assert document()["runs"] == ["run (1)", "run (2)"]


def test_five_pairs_can_show_nothing() -> None:
    write("a", {"dice": [0.1] * 5})
    write("b", {"dice": [0.5, 0.6, 0.7, 0.8, 0.9]})
    assert compare("a", "b") == 0
    row = table()["b", "liver", "dice"]
    assert float(row["p"]) == 0.0625
    assert "5 pair(s) differ, and fewer than 6 pairs cannot reach 0.05" in row["verdict"]


def test_missing_cases_are_listed_and_count_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    write("a", {"dice": [*A, 0.0]}, cases=[*(f"c{i}" for i in range(8)), "only_a"])
    write("b", {"dice": [0.0, *B]}, cases=["only_b", *(f"c{i}" for i in range(8))])
    assert compare("a", "b") == 0
    assert float(table()["b", "liver", "dice"]["mean_difference"]) == pytest.approx(0.03375)
    assert document()["missing"] == [
        {"run": "a", "case": "only_b", "labels": ["liver"]},
        {"run": "b", "case": "only_a", "labels": ["liver"]},
    ]
    err = capsys.readouterr().err
    assert "only_b: not in a (liver)" in err
    assert "2 missing" in err
    assert "only_a" in Page(Path("comparison/comparison.html").read_text()).words


def test_undefined_pairs_are_dropped_and_counted() -> None:
    write("a", {"dice": [*A, None, 0.5]})
    write("b", {"dice": [*B, 0.5, None]})
    assert compare("a", "b") == 0
    row = table()["b", "liver", "dice"]
    assert (row["n"], row["dropped"]) == ("8", "2")
    assert float(row["mean_difference"]) == pytest.approx(0.03375)
    assert document()["comparisons"][0]["dropped_cases"] == ["c8", "c9"]


def test_infinite_is_the_worst_and_two_of_them_are_a_tie() -> None:
    inf = "inf"
    write("a", {"hd95_mm": [9, 9, 9, 9, 9, 9, inf, inf]})
    write("b", {"hd95_mm": [8, 7, 6, 5, 4, 3, 2, inf]})
    assert compare("a", "b") == 0
    row = table()["b", "liver", "hd95_mm"]
    assert row["mean_difference"] == ""  # -inf says nothing of a typical case
    assert float(row["median_difference"]) == -3.5  # of -inf -6 -5 -4 -3 -2 -1 0
    assert (row["second_better"], row["first_better"], row["equal"]) == ("7", "0", "1")
    assert float(row["p"]) == 2 / 2**7
    assert row["verdict"].startswith("b is better by 3.50 in the median (95 % interval")
    page = Page(Path("comparison/comparison.html").read_text())
    assert len(page.of("path")) == 2  # the two cases with an infinity are crosses
    assert len(page.of("circle")) == 6


def test_each_run_misses_another_case() -> None:
    write("a", {"hd95_mm": ["inf", 1, 1]})
    write("b", {"hd95_mm": [1, "inf", 1]})
    assert compare("a", "b") == 0
    row = table()["b", "liver", "hd95_mm"]
    assert float(row["median_difference"]) == 0
    assert (row["second_better"], row["first_better"], row["equal"]) == ("1", "1", "1")


def test_three_runs_are_ranked_and_compared_with_the_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("low", {"dice": [0.1, 0.2], "hd95_mm": [9, 9]})
    write("mid", {"dice": [0.2, 0.3], "hd95_mm": [5, 5]})
    write("top", {"dice": [0.3, 0.3], "hd95_mm": [1, 1]})
    assert compare("low", "mid", "top") == 0
    assert document()["mean_ranks"] == {"top": 1.125, "mid": 1.875, "low": 3.0}
    assert document()["mean_ranks_by_metric"]["dice"] == {"top": 1.25, "mid": 1.75, "low": 3.0}
    assert {(row["first"], row["second"]) for row in table().values()} == {
        ("low", "mid"),
        ("low", "top"),
    }
    assert "mean rank: top 1.12, mid 1.88, low 3.00" in capsys.readouterr().out


def test_validation_speaks_where_a_run_has_no_test_case() -> None:
    write("a", {"dice": A}, split="validation")
    write("b", {"dice": B}, split="validation")
    assert compare("a", "b") == 0
    assert document()["split"] == "validation"
    assert "took part in choosing" in Path("comparison/comparison.html").read_text()


def test_other_tolerances_and_references_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    for name, tolerance, volume in (("a", 1, 10.0), ("b", 2, 11.0)):
        columns = {"dice": A, "nsd": A, "nsd_tolerance_mm": [tolerance] * 8}
        write(name, {**columns, "reference_volume_ml": [volume] * 8})
    assert compare("a", "b") == 0
    assert [metric for _, _, metric in table()] == ["dice"]
    err = capsys.readouterr().err
    assert "NSD left out, its tolerance differs (1, 2)" in err
    assert "8 case(s) have another reference_volume_ml" in err


def test_an_empty_tolerance_is_no_other_tolerance() -> None:
    write("a", {"nsd": A, "nsd_tolerance_mm": [2] * 8})
    write("b", {"nsd": B, "nsd_tolerance_mm": [None, *[2] * 7]})
    assert compare("a", "b") == 0
    assert [metric for _, _, metric in table()] == ["nsd"]


def test_the_page_stands_alone_and_can_be_read_aloud() -> None:
    write("a", {"dice": A, "hd95_mm": A}, label="<liver & co>")
    write("b", {"dice": B, "hd95_mm": B}, label="<liver & co>")
    data = {"data": {"name": "made_up", "origin": "SYNTHETIC", "digest": "d"}}
    Path("a/report/summary.json").write_text(json.dumps(data))
    assert compare("a", "b") == 0
    text = Path("comparison/comparison.html").read_text()
    page = Page(text)
    assert "://" not in text
    assert "url(" not in text
    assert all(not {"src", "href", "srcset", "data"} & set(attrs) for _, attrs in page.tags)
    assert page.headings[0] == 1
    assert all(attrs.get("scope") in {"col", "row"} for attrs in page.of("th"))
    assert [attrs["role"] for attrs in page.of("svg")] == ["img", "img"]
    assert "Dice of <liver & co>, 8 cases: b is better on 7" in page.of("svg")[0]["aria-label"]
    assert len(page.of("circle")) == 16
    assert "<title>c0: a 0.910, b 0.900</title>" in text
    assert "SYNTHETIC: these images were generated" in page.words
    assert "Not for diagnostic use" in page.words


def test_an_earlier_comparison_is_replaced_and_nothing_else() -> None:
    write("a", {"dice": A})
    write("b", {"dice": B})
    assert compare("a", "b") == 0
    assert compare("b", "a") == 0
    assert document()["runs"] == ["b", "a"]
    Path("comparison/notes.txt").write_text("mine")
    assert compare("a", "b") == 2
    assert Path("comparison/notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "compare: 1 run given (a); give two or more"),
        (["a", "bb"], "bb: no such folder, and no MLflow run id; did you mean b?"),
        (["a", "empty"], "empty: holds neither report/metrics.csv nor metrics.csv"),
        (["a", "other"], "no case and label of split test is in every run: a has c0 (liver)"),
        (["a", "validation"], "not every run has cases of split test or validation"),
        (["a", "b", "--split", "train"], "not every run has cases of split 'train'"),
        (["a", "words"], "metrics.csv:2, column dice: 'good' is no number"),
        (["a", "twice"], "case c0, label liver stands twice in split test"),
        (["a", "nothing"], "has no scored case"),
        (["a", "strange"], "has no column case, label, split"),
        (["a", "assd"], "the runs share no metric"),
        (["a", "f" * 32], "there is no MLflow store at sqlite:///"),
    ],
)
def test_refusals_are_one_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a", {"dice": A})
    write("b", {"dice": B})
    write("other", {"dice": A}, cases=[f"d{i}" for i in range(8)])
    write("validation", {"dice": A}, split="validation")
    write("words", {"dice": ["good"]})
    write("twice", {"dice": [1, 1]}, cases=["c0", "c0"])
    write("nothing", {"dice": []})
    write("assd", {"assd_mm": A})
    Path("empty").mkdir()
    Path("strange").mkdir()
    Path("strange/metrics.csv").write_text("x,y\n1,2\n")
    assert compare(*arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not Path("comparison").exists()
    assert not list(Path().glob(".*"))
