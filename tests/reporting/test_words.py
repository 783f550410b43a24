import numpy as np
import pytest

from medseg.reporting.words import (
    flags,
    joined,
    number,
    size_text,
    summary_sentences,
    usual_components,
)
from tests.reporting.examples import label_map, report


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1417.52, "1,418 mL"),
        (12.345, "12.3 mL"),
        (3.2159, "3.22 mL"),
        (0.04567, "0.046 mL"),
        (0.0, "0.00 mL"),
    ],
)
def test_volumes_have_digits_that_carry_meaning(value, text):
    assert size_text(value, "mm") == text


def test_numbers_that_are_not_defined_say_so():
    assert number(float("nan")) == number(None) == "n/a"
    assert number(float("inf")) == "∞"
    assert number(1234.5678, 1) == "1,234.6"


def test_words_join_as_in_a_sentence():
    assert joined(["left"]) == "left"
    assert joined(["left", "upper"]) == "left and upper"
    assert joined(["left", "upper", "lower"]) == "left, upper and lower"


def test_a_perfect_case_in_words(tmp_path):
    made = report(tmp_path, "a", label_map(), label_map())
    liver, tumour = summary_sentences(made)
    voxels = 8 * 6 * 2 - 1
    assert liver.startswith(
        f"liver: {size_text(voxels * 8 / 1000, 'mm')} in one piece, 15 mm across."
    )
    assert "the prediction is 0.0 % more" in liver
    assert "(Dice) 1.000" in liver
    assert tumour.startswith("tumour: 0.008 mL in one piece, 4 mm across.")
    assert flags(made, usual_components([made])) == []


def test_every_doubt_is_flagged(tmp_path):
    label = label_map()
    pred = np.where(label == 2, 1, label).astype(np.int16)
    pred[0, 0, 0] = 1
    made = report(tmp_path, "a", pred, label)
    found = " ".join(flags(made, usual_components([made])))
    assert "liver touches the left, back and lower edges of the scan" in found
    assert "liver is in 2 pieces; the references of this data set usually have one" in found
    assert "tumour was missed" in found
    sentences = summary_sentences(made)
    assert sentences[1] == "tumour: not found, although the reference has 0.008 mL."


def test_an_invented_structure_is_flagged(tmp_path):
    label = label_map()
    made = report(tmp_path, "a", label, np.where(label == 2, 1, label).astype(np.int16))
    assert any("does not show it" in flag for flag in flags(made, {}))
    assert summary_sentences(made)[1].endswith("The reference does not show it.")


def test_without_reference_an_empty_result_leaves_both_readings_open(tmp_path):
    made = report(tmp_path, "a", np.zeros((9, 9, 9), dtype=np.int16), None, role="predict")
    assert summary_sentences(made) == ["liver: not found.", "tumour: not found."]
    assert any("it is not in this scan, or it was missed" in flag for flag in flags(made, {}))


def test_what_is_absent_from_both_is_no_doubt(tmp_path):
    empty = np.zeros((9, 9, 9), dtype=np.int16)
    made = report(tmp_path, "a", empty, empty)
    assert flags(made, {}) == []
    assert summary_sentences(made)[0] == "liver: not found, as in the reference."


def test_the_usual_number_of_pieces_comes_from_the_references(tmp_path):
    two = label_map()
    two[0, 0, 0] = 1
    cases = [report(tmp_path, str(i), label_map(), label_map()) for i in range(3)]
    assert usual_components(cases) == {"liver": 1, "tumour": 1}
    cases.append(report(tmp_path, "two", label_map(), two))
    assert usual_components(cases)["liver"] == 2
