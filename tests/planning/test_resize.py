"""Photographs of all sizes, planned for the size that they are brought to."""

from __future__ import annotations

import pytest

from medseg.errors import ConfigError
from medseg.geometry.resize import Resize
from medseg.planning.planner import make_plan
from medseg.planning.wishes import Wishes
from medseg.stages.resample import Resample
from tests.planning.tiny import dataset

PHOTOS = dataset(
    spacings=((1.0, 1.0),) * 3, shapes=((400, 600), (200, 200), (900, 600)), modality="photo"
)


def test_the_median_picture_decides_the_patch():
    plan = make_plan(PHOTOS, Wishes(resize=Resize(short_side=100), crop=False), "cpu")
    assert plan.spacing == (4.0, 4.0)  # of 4, 2 and 6
    assert plan.resize == Resize(short_side=100)
    # 100 x 150, 100 x 100, 150 x 100: the patch covers the median 100 x 100
    assert all(90 <= side <= 128 for side in plan.patch_size)
    assert make_plan(PHOTOS, Wishes(crop=False), "cpu").resize is None


def test_volumes_have_no_short_side():
    with pytest.raises(ConfigError, match=r"for photographs.*3-D: set resample\.spacing"):
        make_plan(dataset(), Wishes(resize=Resize(short_side=100)), "cpu")
    with pytest.raises(ConfigError, match="for photographs"):
        make_plan(PHOTOS, Wishes(resize=Resize(size=(10, 10, 10))), "cpu")


def test_two_rules_for_one_size_are_refused():
    with pytest.raises(ConfigError, match=r"resample\.spacing and resample\.short_side"):
        Resample(spacing=(2.0, 2.0), short_side=100)
    with pytest.raises(ConfigError, match=r"resample\.size.*1 px or more"):
        Resample(size=(0, 10))
    assert Resample(size=(5, 6)).resize == Resize(size=(5, 6))
    assert Resample().resize is None
