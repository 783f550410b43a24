from __future__ import annotations

from medseg.hidden_words import HiddenWords


def hiding(**words):
    hidden = HiddenWords()
    hidden.replace_all({word.replace("_", "-"): instead for word, instead in words.items()})
    return hidden


def test_the_longest_word_is_replaced_whatever_came_first():
    hidden = hiding(a="1", a_b="2", a_b_c="3")
    assert hidden.replaced_in("a a-b a-b-c a-b-d b") == "1 2 3 2-d b"


def test_nothing_is_lost_of_a_text_without_hidden_words():
    text = "Größe 3.4 mm\n\t«ok» 12ab_ \0 🩻"
    assert hiding(x="y").replaced_in(text) == text
    assert HiddenWords().replaced_in(text) == text
    assert hiding(x="y").replaced_in("") == ""


def test_letters_and_digits_end_a_word_for_each_other_alone():
    hidden = hiding(Größe="x")
    hidden.add("47", "y")
    assert (
        hidden.replaced_in("GRÖSSE Größen größe7 a47b 470 4747") == "GRÖSSE Größen x7 ayb 470 4747"
    )


def test_what_is_spelled_exactly_wins_over_another_spelling():
    hidden = hiding(Doe="1", DOE="2")
    assert hidden.replaced_in("Doe DOE") == "1 2"


def test_a_word_can_be_given_something_else_and_all_of_them_others():
    hidden = hiding(Doe="1")
    hidden.add("Doe", "3")
    assert hidden.replaced_in("doe") == "3"
    hidden.replace_all({"Roe": "4"})
    assert hidden.replaced_in("doe roe") == "doe 4"
