"""What ingest says of annotations that cannot be right."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from medseg.errors import CaseError
from medseg.planning.examine import examine_case
from medseg.readers import read_cases
from medseg.stages.ingest import bare_scheme


@pytest.fixture
def examine(files, manifest, tmp_path):
    """Write one photograph of 6 x 7 with this mask and examine it."""

    def run(mask, label_map=None, encoding="index", name="m/a.png"):
        files.photo("i/a.png")
        path = files.place(name)
        if isinstance(mask, np.ndarray):
            Image.fromarray(mask).save(path)
        else:
            path.write_text(json.dumps(mask))
        described = manifest(
            "folders",
            options={"parts": {"all": {"images": "i", "labels": "m"}}, "encoding": encoding},
            labels={"road": 1, "sky": 2},
            channels=("r", "g", "b"),
            label_map=label_map,
        )
        (case,) = read_cases(described)
        return examine_case(case, bare_scheme(described.scheme), ("r", "g", "b"), (), out=tmp_path)

    return run


STREET = {"0": "road", "1": "sky", "255": "ignore"}


def test_ignored_pixels_are_counted_nowhere(examine):
    mask = np.full((6, 7), 255, np.uint8)
    mask[0], mask[1, :3] = 0, 1
    assert examine(mask, STREET).label_voxels == {"road": 7, "sky": 3}


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (np.full((6, 7), 255, np.uint8), "every voxel of the annotation is ignored"),
        (np.full((6, 7), 2, np.uint8), r"value 2 is not in the label map .*2 on 42 pixels"),
        (np.zeros((7, 6), np.uint8), r"label shape \(7, 6\) is not image shape \(6, 7\)"),
        (np.full((6, 7, 3), (1, 2, 3), np.uint8), r"mask is in colour.*#010203 \(100\.0%\)"),
    ],
)
def test_mask_that_cannot_be_right_is_set_aside(examine, mask, expected):
    with pytest.raises(CaseError, match=expected):
        examine(mask, STREET)


def test_colours_outside_the_map_are_listed(examine):
    mask = np.zeros((6, 7, 3), np.uint8)
    mask[0, 0] = (0, 0, 255)
    colours = {"#000000": "road", "#0000ff": "sky"}
    assert examine(mask, colours, "rgb").label_voxels == {"road": 41, "sky": 1}
    with pytest.raises(CaseError, match="value 255 is not in the label map"):
        examine(mask, {"#000000": "road"}, "rgb")


def test_names_of_a_tool_are_mapped(examine):
    square = [[0, 0], [2, 0], [2, 2], [0, 2]]
    drawn = {"imageHeight": 6, "imageWidth": 7, "shapes": [{"label": "street", "points": square}]}
    found = examine(drawn, {"street": "road"}, "labelme", "m/a.json")
    assert found.label_voxels == {"road": 4, "sky": 0}
    with pytest.raises(CaseError, match="street on 4 pixels are neither labels nor"):
        examine(drawn, None, "labelme", "m/a.json")


@pytest.mark.parametrize("broken", [[], {"imageHeight": "x", "imageWidth": 7, "shapes": []}])
def test_file_of_another_form_is_set_aside(examine, broken):
    with pytest.raises(CaseError):
        examine(broken, None, "labelme", "m/a.json")
