from pathlib import Path

import numpy as np
import pytest

from medseg.errors import CaseError
from medseg.io.classes import StoredValues, classes_of
from medseg.labels import IGNORE_INDEX, Label, LabelScheme

CITY = LabelScheme(
    labels=tuple(Label(value=i + 1, name=f"c{i}") for i in range(19)),
    label_map={str(i): f"c{i}" for i in range(19)} | {"255": "ignore"},
)
LUNG = LabelScheme(labels=(Label(value=1, name="lung"),))
THREE = LabelScheme(labels=tuple(Label(value=i, name=f"c{i}") for i in (1, 2, 3)))


def message(values, scheme, names=None):
    data = np.array([values], np.int32)
    with pytest.raises(CaseError) as error:
        classes_of(StoredValues(case="a", path=Path("a.png"), data=data, names=names), scheme, None)
    return str(error.value)


def test_unknown_values_are_listed_with_their_counts():
    text = message([0, 1, 7, 7, 9], THREE)
    assert "values 7, 9 are not in the label table (1 c1, 2 c2, 3 c3)" in text
    assert "7 on 2 pixels, 9 on 1 pixel" in text
    assert "add them to the manifest's labels or label_map" in text


@pytest.mark.parametrize(
    ("values", "scheme", "remedy"),
    [
        ([0, 255, 255], LUNG, "label_map: {0: background, 255: lung}"),
        ([0, 1, 3, 255], THREE, "write 'ignore_value: 255'"),
        ([0, 1, -1], THREE, "'-1: ignore'"),
        ([0, 2, 3, 4], THREE, "if it were one less"),
        ([7, 11, 26, 33], CITY, "look like Cityscapes labelIds"),
        ([1001, 2000, 3000], THREE, "'encoding: thousands'"),
        ([257, 513, 514], THREE, "'encoding: high_byte'"),
        (list(range(0, 200, 2)), THREE, "too many for classes"),
    ],
)
def test_nearest_remedy(values, scheme, remedy):
    assert remedy in message(values, scheme)


def test_unknown_names_are_counted_and_the_nearest_is_given():
    names = {0: "background", 4: "c11", 5: "lugn"}
    text = message([0, 4, 4, 5], LUNG, names)
    assert "c11 on 2 pixels, lugn on 1 pixel are neither labels nor in the label map" in text
    assert "label_map" in text


def test_named_values_and_the_rest_of_a_map():
    scheme = LabelScheme(
        labels=(Label(value=3, name="cat"), Label(value=9, name="dog")),
        label_map={"hound": "dog", "other": "ignore"},
    )
    data = np.array([[0, 1, 2, 3, -1]])
    names = {0: "background", 1: "cat", 2: "hound", 3: "cow", -1: "ignore"}
    stored = StoredValues(case="a", path=Path("a"), data=data, names=names)
    found = classes_of(stored, scheme, None)
    assert found.tolist() == [[0, 1, 2, IGNORE_INDEX, IGNORE_INDEX]]


def test_ignored_values_are_no_class():
    found = classes_of(
        StoredValues(case="a", path=Path("a"), data=np.array([[0, 18, 255]], np.uint8)), CITY, None
    )
    assert found.tolist() == [[1, 19, IGNORE_INDEX]]


def test_what_lies_in_a_volume_is_counted_in_voxels():
    data = np.zeros((2, 3, 4), np.int32)
    data[0, 0, 0] = 9
    with pytest.raises(
        CaseError, match=r"value 9 is not in the label table .*; 9 on 1 voxel\b(?!s)"
    ):
        classes_of(StoredValues(case="a", path=Path("a.nii"), data=data), THREE, None)
