from dataclasses import replace

import numpy as np

from medseg.reporting.case_context import NOTHING_KNOWN, CaseContext
from medseg.reporting.case_page import render_case_page
from medseg.reporting.scan_checks import Check
from medseg.reporting.standing import standings
from medseg.reporting.volume_interval import VolumeInterval
from tests.reporting.examples import about, check_page, label_map, report


def page_of(tmp_path, made, origin="real", context=NOTHING_KNOWN, **options):
    text = render_case_page(made, tmp_path / made.case, about(origin), context, **options)
    return check_page(text), text


def test_a_scored_case(tmp_path):
    label = label_map()
    pred = np.roll(label, 1, axis=0)
    page, _ = page_of(tmp_path, report(tmp_path, "liver_001", pred, label, pictures=True))
    assert page.title == "Case liver_001"
    assert len(page.of("img")) == 9
    assert {"href": "../index.html"} in page.of("a")
    for words in ("HD95 (mm)", "Dice", "reference: dashed", "2.0 mm", "medseg 1.2.3", "2026-01-02"):
        assert words in page.words
    assert "SYNTHETIC" not in page.words


def test_a_case_without_reference_has_no_quality_numbers(tmp_path):
    made = report(tmp_path, "new", label_map(), None, role="predict", pictures=True)
    page, _ = page_of(tmp_path, made, index=None)
    assert len(page.of("img")) == 6
    assert "nothing here says how good the outlines are" in page.words
    assert "HD95" not in page.words
    assert page.of("a") == []


def test_missed_structures_are_shown_as_such(tmp_path):
    label = label_map()
    pred = np.where(label == 2, 1, label).astype(np.int16)
    page, _ = page_of(tmp_path, report(tmp_path, "m", pred, label))
    assert "tumour was missed" in page.words
    assert "∞" in page.words
    assert "nan" not in page.words.lower().split()


def test_synthetic_data_is_marked(tmp_path):
    page, _ = page_of(tmp_path, report(tmp_path, "s", label_map(), label_map()), "SYNTHETIC")
    assert "SYNTHETIC" in page.title
    assert any(attrs.get("class") == "banner" for attrs in page.of("p"))


def test_names_are_escaped(tmp_path):
    made = report(tmp_path, "a&b<i>", label_map(), label_map())
    page, text = page_of(tmp_path, made)
    assert page.title == "Case a&b<i>"
    assert "<i>" not in text


def test_identifiers_appear_only_where_given(tmp_path):
    made = report(tmp_path, "a", label_map(), label_map())
    assert "Jane" not in page_of(tmp_path, made)[0].words
    assert "Jane" in page_of(tmp_path, made, identifiers={"Patient": "Jane"})[0].words


def test_a_photograph_speaks_of_pixels(tmp_path):
    label = label_map((16, 14))
    page, _ = page_of(
        tmp_path, report(tmp_path, "p", np.roll(label, 1, axis=0), label, pictures=True)
    )
    assert len(page.of("img")) == 4  # outlines, then image, classes and errors
    assert "HD95 (px)" in page.words
    assert "Area" in page.words
    assert "mL" not in page.words
    assert " mm" not in page.words


def test_what_was_found_stands_in_numbers(tmp_path):
    made = report(tmp_path, "a", label_map(), None, role="predict")
    known = CaseContext(
        intervals={
            "liver": VolumeInterval(low_ml=0.7, high_ml=0.811, cases=9, method="from ranks"),
            "tumour": VolumeInterval(low_ml=None, high_ml=None, cases=1, method="too few"),
        },
        checks=(Check(name="Orientation", state="look here", text="stored as LIP"),),
        estimate=("Expected Dice of liver 0.90.",),
    )
    page, _ = page_of(tmp_path, made, context=known)
    for words in (
        "liver: 0.760 mL (95 % interval 0.700 to 0.811 mL) in one piece, 15 mm across.",
        "liver: from ranks.",
        "tumour: too few.",
        "Largest axial diameter",
        "Mean ± SD (HU)",
        "tumour: 1 piece",
        "R 5, A 10, S 20 mm",
        "▲ look here",
        "Orientation: stored as LIP.",
        "Expected Dice of liver 0.90.",
    ):
        assert words in page.words, words


def test_what_was_not_found_is_not_zero(tmp_path):
    empty = np.zeros((9, 9, 9), dtype=np.int16)
    page, _ = page_of(tmp_path, report(tmp_path, "e", empty, None, role="predict"))
    assert "0.00 mL" not in page.words
    assert page.words.count("not found") >= 4  # sentence and table, for both structures
    assert "not assessable" in page.words
    assert "Estimated quality: not assessable" in page.words


def test_the_standing_in_the_cohort_is_told(tmp_path):
    made = report(tmp_path, "a", label_map(), label_map())
    others = [replace(made, case=f"o{i}") for i in range(5)]
    known = CaseContext(standings=standings(made, [made, *others]))
    assert "50: better than 50 % of them" in page_of(tmp_path, made, context=known)[0].words
    alone = CaseContext(standings=standings(made, [made]))
    assert "there is no other test case" in page_of(tmp_path, made, context=alone)[0].words


def test_the_viewer_is_in_the_page_unless_left_out(tmp_path):
    made = report(tmp_path, "a", label_map(), label_map(), pictures=True)
    page, text = page_of(tmp_path, made)
    ids = {attrs.get("id") for attrs in page.of("script")}
    assert {"viewer-source", "viewer-image", "viewer-pred", "viewer-reference"} <= ids
    assert "BSD 2-Clause" in page.words
    assert text.count("<canvas") == 1
    bare, text = page_of(tmp_path, made, viewer=False)
    assert bare.of("script") == []
    assert "viewer-start" not in bare.words


def test_lesions_beyond_the_table_are_counted(tmp_path):
    pred = np.zeros((60, 8, 5), dtype=np.int16)
    pred[::2, 4, 2] = 2
    page, _ = page_of(tmp_path, report(tmp_path, "m", pred, None, role="predict"))
    assert "tumour: 30 pieces, one by one" in page.words
    assert "5 smaller pieces are not listed" in page.words
    assert "no marked structure" in page.words
