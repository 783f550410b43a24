from __future__ import annotations

import pytest

from medseg.planning.mirror import plan_mirror_axes


def test_left_and_right_change_places_in_bodies_and_photographs():
    assert plan_mirror_axes(["liver", "tumour"], 3) == (0,)
    assert plan_mirror_axes(["road"], 2) == (1,)


@pytest.mark.parametrize("name", ["kidney_left", "Right lung", "LEFT", "left-atrium"])
def test_a_label_with_a_side_forbids_it(name):
    assert plan_mirror_axes(["liver", name], 3) == ()


@pytest.mark.parametrize("name", ["bright spot", "cleft", "upright"])
def test_a_word_that_only_contains_a_side_does_not(name):
    assert plan_mirror_axes([name], 3) == (0,)
