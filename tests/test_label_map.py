import numpy as np
import pytest

from medseg.errors import ManifestError
from medseg.label_map import map_problems, stored_value
from medseg.labels import IGNORE_INDEX, Label, LabelScheme
from medseg.manifest_file import load_manifest


def scheme(label_map=None, **changes):
    labels = tuple(Label(value=v, name=n) for n, v in {"road": 7, "sky": 23}.items())
    return LabelScheme(labels=labels, label_map=label_map, **changes)


def test_keys_are_values_colours_or_names():
    assert [stored_value(k) for k in ("7", "-1", "#0000Ff", "sky", "other", "#12345")] == [
        7,
        -1,
        255,
        None,
        None,
        None,
    ]


def test_without_a_map_files_hold_the_table():
    assert scheme().stored_values() == {0: 0, 7: 1, 23: 2}
    assert scheme(ignore_value=255).stored_values() == {0: 0, 7: 1, 23: 2, 255: IGNORE_INDEX}
    assert scheme().has_background


def test_map_says_all_that_files_may_hold():
    street = scheme({"0": "ignore", "1": "road", "#000002": "road", "3": "sky"})
    assert street.stored_values() == {0: IGNORE_INDEX, 1: 1, 2: 1, 3: 2}
    assert not street.has_background
    assert scheme({"0": "background", "1": "road"}).has_background
    assert scheme({"1": "road", "other": "background"}).has_background
    assert (street.other, scheme({"1": "road", "other": "ignore"}).other) == (None, IGNORE_INDEX)


def test_names_stand_for_themselves_unless_the_map_says_otherwise():
    found = scheme({"street": "road", "sky": "background"}).stored_names()
    assert found == {
        "ignore": IGNORE_INDEX,
        "background": 0,
        "road": 1,
        "sky": 0,
        "street": 1,
    }


def test_indices_go_back_to_what_files_hold():
    street = scheme({"0": "ignore", "1": "road", "2": "road", "3": "sky"})
    indices = np.array([[IGNORE_INDEX, 1], [2, 1]], np.int16)
    assert street.to_stored(indices).tolist() == [[0, 1], [3, 1]]
    assert street.to_values(indices).tolist() == [[0, 7], [23, 7]]
    with pytest.raises(
        ValueError, match=r"no value of the label map means the class indices \[0\]"
    ):
        street.to_stored(np.zeros((2, 2), np.int16))


def test_what_is_wrong_with_a_map():
    names = ["road", "sky"]
    assert not list(map_problems({"1": "road", "2": "sky", "255": "ignore"}, names, None))
    assert dict(map_problems({"1": "raod", "2": "sky", "3": "road"}, names, None)) == {
        "1": "no label 'raod'; did you mean 'road'?"
    }
    (found,) = map_problems({"255": "road", "#0000ff": "sky"}, names, None)
    assert found == (None, "the value 255 stands in it twice, once as a colour")
    (found,) = map_problems({"1": "road", "2": "sky"}, names, 255)
    assert "write '255: ignore' into the map" in found[1]
    (found,) = map_problems({"1": "road", "other": "ignore"}, names, None)
    assert found == (None, "no value means sky; add it, or delete the label")


def test_manifest_takes_numbers_colours_and_names(tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "m.yaml"
    text = (
        "reader: folders\nroot: .\noptions: {parts: {all: {images: a, labels: a}}}\n"
        'labels: {road: 1, sky: 2}\nlabel_map: {0: road, "#0000ff": sky, -1: ignore}\n'
    )
    path.write_text(text)
    manifest = load_manifest(path, scratch=tmp_path)
    assert manifest.label_map == {"0": "road", "#0000ff": "sky", "-1": "ignore"}
    assert manifest.scheme.stored_values() == {0: 1, 255: 2, -1: IGNORE_INDEX}
    path.write_text(text.replace("-1: ignore", "-1: ignor"))
    with pytest.raises(ManifestError, match=r"m\.yaml:5:38: label_map\.-1: no label 'ignor'"):
        load_manifest(path, scratch=tmp_path)
