import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from medseg.errors import FormatError
from medseg.io.outlines import deepfashion2, labelme, via


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def named(found):
    return [[found.names[v][0] for v in row] for row in found.values]


def test_labelme_shapes_lie_in_the_order_drawn(tmp_path):
    patch = io.BytesIO()
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(patch, format="png")
    shapes = [
        {"label": "tree", "points": [[0, 0], [4, 0], [4, 2], [0, 2]], "shape_type": "polygon"},
        {"label": "sign", "points": [[1, 3], [3, 1]], "shape_type": "rectangle"},
        {"label": "x", "points": [[0, 2], [1, 2]], "shape_type": "mask"},
    ]
    shapes[2]["mask"] = base64.b64encode(patch.getvalue()).decode()
    path = write(tmp_path / "a.json", {"imageHeight": 3, "imageWidth": 4, "shapes": shapes})
    found = labelme(path, (3, 4))
    assert named(found) == [list("tttt"), list("tsst"), list("bxsb")]
    with pytest.raises(FormatError, match="drawn on 4 x 3"):
        labelme(path, (4, 4))


def test_labelme_line_has_no_area(tmp_path):
    shape = {"label": "a", "points": [[0, 0], [1, 1]], "shape_type": "line"}
    path = write(tmp_path / "a.json", {"imageHeight": 3, "imageWidth": 4, "shapes": [shape]})
    with pytest.raises(FormatError, match="type 'line' has no area"):
        labelme(path, (3, 4))
    with pytest.raises(FormatError, match="'imageHeight' is missing"):
        labelme(write(tmp_path / "b.json", {"shapes": []}), (3, 4))


def region(attributes, **shape):
    return {"shape_attributes": shape, "region_attributes": attributes}


def test_via_regions_of_every_kind(tmp_path):
    regions = [
        region({"class": "a"}, name="rect", x=0, y=0, width=4, height=1),
        region({"kind": "p"}, name="polygon", all_points_x=[0, 2, 2, 0], all_points_y=[1, 1, 3, 3]),
        region({"class": {"c": True, "d": False}}, name="circle", cx=3.5, cy=2.5, r=0.4),
    ]
    images = {"a.jpg12": {"filename": "a.jpg", "regions": regions}}
    for content in (images, {"_via_img_metadata": images, "_via_settings": {}}):
        found = via(write(tmp_path / "v.json", content), "a.jpg", (3, 4))
        assert named(found) == [list("aaaa"), list("ppbb"), list("ppbc")]
    images["a.jpg12"]["regions"] = {"0": regions[0]}  # as VIA 1 writes them
    assert named(via(write(tmp_path / "v.json", images), "a.jpg", (1, 4))) == [list("aaaa")]
    with pytest.raises(FormatError, match=r"annotates no image 'b\.jpg'"):
        via(tmp_path / "v.json", "b.jpg", (3, 4))


def test_via_region_without_class_says_which_attributes_it_has(tmp_path):
    unclear = region({"colour": "red", "size": "big"}, name="rect", x=0, y=0, width=1, height=1)
    path = write(tmp_path / "v.json", {"a": {"filename": "a.jpg", "regions": [unclear]}})
    with pytest.raises(FormatError, match="its attributes: colour, size"):
        via(path, "a.jpg", (3, 4))


def test_deepfashion2_smaller_garment_lies_on_the_larger(tmp_path):
    item = {"category_name": "shorts", "segmentation": [[0, 0, 1, 0, 1, 1, 0, 1]]}
    dress = {"category_name": "dress", "segmentation": [[0, 0, 3, 0, 3, 1, 0, 1]]}
    path = write(tmp_path / "a.json", {"source": "shop", "item1": item, "item2": dress})
    assert named(deepfashion2(path, (1, 4))) == [list("sddb")]
