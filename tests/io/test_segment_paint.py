from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.case import SegmentRule
from medseg.errors import FormatError
from medseg.io.segment_paint import Plane, paint
from medseg.io.segments import Segment
from medseg.labels import IGNORE_INDEX, Label, LabelScheme, Region

HERE = Path("s.dcm")


def scheme_of(*names, **regions):
    return LabelScheme(
        labels=tuple(Label(value=i, name=name) for i, name in enumerate(names, start=1)),
        regions=tuple(Region(name=name, labels=labels) for name, labels in regions.items()),
    )


def painted(scheme, drawn, overlap="refuse"):
    """Paint ``(name, voxels of a row)`` in this order."""
    planes, meaning = [], {}
    for number, (name, voxels) in enumerate(drawn, start=1):
        segment = Segment(path=HERE, number=number, name=name)
        meaning[segment] = name
        mask = np.zeros((1, 6), bool)
        mask[0, list(voxels)] = True
        planes.append(Plane(segment=segment, view=lambda v: v[:, :, 0], mask=mask))
    rule = SegmentRule(overlap=overlap)
    return paint(planes, (1, 6, 1), meaning, scheme, rule, HERE)[0, :, 0].tolist()


@pytest.mark.parametrize("turned", [False, True])
def test_the_order_of_the_planes_does_not_matter(turned):
    drawn = [("a", (0, 1, 2)), ("b", (2, 3)), ("a", (1, 5))]
    found = painted(scheme_of("a", "b"), drawn[::-1] if turned else drawn, overlap="later")
    assert found == [1, 1, 2, 2, 0, 1]


def test_all_pairs_that_overlap_are_counted():
    drawn = [("a", (0, 1, 2)), ("b", (1, 2, 3)), ("c", (2,))]
    with pytest.raises(FormatError) as error:
        painted(scheme_of("a", "b", "c"), drawn)
    words = "'a' and 'b' on 2 voxels; 'a' and 'c' on 1 voxels; 'b' and 'c' on 1 voxels"
    assert words in str(error.value)


def test_what_one_segment_says_to_ignore_is_ignored():
    drawn = [("a", (0, 1)), ("ignore", (1, 2))]
    assert painted(scheme_of("a"), drawn) == [1, IGNORE_INDEX, IGNORE_INDEX, 0, 0, 0]


def test_a_label_inside_regions_is_that_label_and_the_rest_is_what_only_they_hold():
    scheme = scheme_of("rim", "core", "wet", whole=("rim", "core", "wet"), tumour=("rim", "core"))
    drawn = [("core", (2,)), ("tumour", (1, 2)), ("whole", (0, 1, 2))]
    with pytest.raises(FormatError, match=r"in .tumour. and .whole. .* 2 labels have \(rim"):
        painted(scheme, drawn)
    assert painted(scheme, [*drawn, ("rim", (1,))]) == [3, 1, 2, 0, 0, 0]


def test_a_combination_that_no_voxel_keeps_is_no_matter():
    scheme = scheme_of("edge", "core", whole=("edge", "core"), tumour=("core",))
    drawn = [("tumour", (1,)), ("whole", (0, 1))]  # between them voxel 1 is in the tumour alone
    assert painted(scheme, drawn) == [1, 2, 0, 0, 0, 0]


def test_there_may_be_more_names_than_bits_of_a_number():
    names = [f"n{i}" for i in range(130)]
    drawn = [(name, (i % 6,)) for i, name in enumerate(names)]
    assert painted(scheme_of(*names), drawn, overlap="later") == [127, 128, 129, 130, 125, 126]
