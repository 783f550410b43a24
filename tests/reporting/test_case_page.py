import numpy as np

from medseg.reporting.case_page import render_case_page
from tests.reporting.examples import about, check_page, label_map, report


def page_of(tmp_path, made, origin="real", **options):
    text = render_case_page(made, tmp_path / made.case, about(origin), usual={}, **options)
    return check_page(text), text


def test_a_scored_case(tmp_path):
    label = label_map()
    pred = np.roll(label, 1, axis=0)
    page, _ = page_of(tmp_path, report(tmp_path, "liver_001", pred, label, pictures=True))
    assert page.title == "Case liver_001"
    assert len(page.of("img")) == 6
    assert {"href": "../index.html"} in page.of("a")
    for words in ("HD95 (mm)", "Dice", "reference: dashed", "2.0 mm", "medseg 1.2.3", "2026-01-02"):
        assert words in page.words
    assert "SYNTHETIC" not in page.words


def test_a_case_without_reference_has_no_quality_numbers(tmp_path):
    made = report(tmp_path, "new", label_map(), None, role="predict", pictures=True)
    page, _ = page_of(tmp_path, made, index=None)
    assert len(page.of("img")) == 3
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
    assert len(page.of("img")) == 1
    assert "HD95 (px)" in page.words
    assert "Area" in page.words
    assert "mL" not in page.words
    assert " mm" not in page.words
