import re
from dataclasses import replace

import numpy as np

from medseg.artefacts import Decision, SetAside, StageTime
from medseg.finished import PostprocessRule
from medseg.geometry.volume import Grid
from medseg.reporting.cohort_page import Cohort, render_cohort_page
from medseg.reporting.scan_checks import training_scans
from medseg.reporting.tables import summaries_by_role
from medseg.reporting.words import usual_components
from tests.reporting.examples import about, check_page, label_map, report


def cohort(tmp_path, reports, **options):
    history = tmp_path / "history.csv"
    history.write_text("step,train/loss,val/dice/liver\n1,2.0,0.1\n2,1.0,0.5\n")
    given = {
        "reports": tuple(reports),
        "summaries": summaries_by_role(reports),
        "usual": usual_components(reports),
        "set_aside": (),
        "decisions": (),
        "rules": (),
        "histories": {0: history},
    }
    return Cohort(**{**given, **options})


def all_kinds(tmp_path):
    label = label_map()
    missed = np.where(label == 2, 1, label).astype(np.int16)
    return [
        report(tmp_path, "one", label, label),
        report(tmp_path, "two", missed, label),
        report(tmp_path, "check", label, label, role="validation", fold=1),
        report(tmp_path, "new & odd", label, None, role="predict"),
    ]


def test_the_whole_page(tmp_path):
    made = cohort(
        tmp_path,
        all_kinds(tmp_path),
        set_aside=(SetAside(case="bad", stage="ingest", reason="truncated; copy it again"),),
        decisions=(
            Decision(key="resample.spacing", value=(1.0, 2.0), rule="median", data="3 cases"),
        ),
        rules=(
            PostprocessRule(
                structure="liver", keep_largest=True, dice_before=0.91, dice_after=0.9512
            ),
        ),
    )
    page = check_page(render_cohort_page(made, about()))
    links = [attrs["href"] for attrs in page.of("a")]
    assert links[0] == "cases/two.html", "worst first"
    assert links[-1] == "cases/new%20%26%20odd.html"
    assert len(page.of("img")) == 4
    for words in (
        "2 test, 1 validation and 1 unlabelled cases; 1 set aside",
        "truncated; copy it again",
        "resample.spacing",
        "(1.0, 2.0)",
        "0.9512",
        "1 / 1 / 0 / 0",
        "no reference",
    ):
        assert words in page.words, words
    assert page.of("table")[1] == {"class": "sortable"}


def test_without_test_cases_the_page_says_that_validation_speaks(tmp_path):
    page = check_page(render_cohort_page(cohort(tmp_path, all_kinds(tmp_path)[2:]), about()))
    assert "There is no test case" in page.words


def test_without_any_reference_there_are_no_quality_numbers(tmp_path):
    made = cohort(tmp_path, all_kinds(tmp_path)[3:], histories={})
    page = check_page(render_cohort_page(made, about()))
    assert "no quality numbers" in page.words
    assert page.of("img") == []


def test_a_run_without_cases_has_a_page(tmp_path):
    page = check_page(render_cohort_page(cohort(tmp_path, [], histories={}), about()))
    assert "0 test, 0 validation and 0 unlabelled" in page.words


def test_synthetic_data_is_marked(tmp_path):
    made = cohort(tmp_path, all_kinds(tmp_path)[:1])
    page = check_page(render_cohort_page(made, about("SYNTHETIC")))
    assert "SYNTHETIC" in page.title
    assert any(attrs.get("class") == "banner" for attrs in page.of("p"))


def test_scans_of_one_patient_count_once(tmp_path):
    reports = [replace(r, group="p1") for r in all_kinds(tmp_path)[:2]]
    page = check_page(render_cohort_page(cohort(tmp_path, reports), about()))
    assert "n = 1" in page.words


def test_times_and_memory_of_the_stages_are_listed(tmp_path):
    took = StageTime(stage="train", seconds=3600.04, device="cuda:0", peak_memory_mb=None)
    made = cohort(tmp_path, [], histories={}, stages=(took,))
    page = check_page(render_cohort_page(made, about()))
    for words in ("train", "3,600.0", "cuda:0", "n/a"):
        assert words in page.words


def test_checks_of_the_scan_count_among_what_is_to_be_checked(tmp_path):
    """Training scans of 9 mm: the spacing of the only case is unlike them."""
    grid = Grid.of((9, 9, 9), np.diag([9.0, 9.0, 9.0, 1.0]))
    one = all_kinds(tmp_path)[:1]
    given = {"histories": {}, "training": training_scans([grid], ["RAS"], None)}
    plain = render_cohort_page(cohort(tmp_path, one, histories={}), about())
    unlike = render_cohort_page(cohort(tmp_path, one, **given), about())
    count = re.compile(r'<td class="n">(\d+)</td></tr>')
    before, after = (sum(map(int, count.findall(page))) for page in (plain, unlike))
    assert after == before + 2, "once in the row of each structure"


def test_a_case_whose_structure_was_not_found_shows_no_zero(tmp_path):
    empty = np.zeros((9, 9, 9), dtype=np.int16)
    made = cohort(tmp_path, [report(tmp_path, "e", empty, None, role="predict")], histories={})
    page = check_page(render_cohort_page(made, about()))
    assert page.words.count("not found") == 2
    assert "0.00" not in page.words
