import json

import numpy as np
import pytest
from PIL import Image

from medseg.errors import FormatError
from medseg.io.coco import image_names, instances, panoptic

BOX = [1, 0, 3, 0, 3, 2, 1, 2]  # columns 1 and 2, rows 0 and 1


def write(path, annotations, **image):
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 3, "width": 4} | image],
        "categories": [{"id": 1, "name": "cat"}, {"id": 90, "name": "dog"}],
        "annotations": [{"image_id": 7, "id": i} | a for i, a in enumerate(annotations)],
    }
    path.write_text(json.dumps(content))
    return path


def test_overlap_of_two_categories_is_ignored_or_the_smaller_ones(tmp_path):
    cat = {"category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 1, 0, 1]]}  # the first row
    dog = {"category_id": 90, "segmentation": [BOX, [0, 2, 1, 2, 1, 3, 0, 3]]}
    path = write(tmp_path / "x.json", [cat, dog])
    found = instances(path, "a.jpg", (3, 4))
    names = np.vectorize(found.names.get)(found.values)
    assert names.tolist() == [
        ["cat", "ignore", "ignore", "cat"],
        ["background", "dog", "dog", "background"],
        ["dog", "background", "background", "background"],
    ]
    found = instances(path, "a.jpg", (3, 4), painted=True)
    assert [found.names[v] for v in found.values[0]] == ["cat"] * 4  # 4 pixels against 5


def test_crowd_is_ignored_where_nothing_else_is(tmp_path):
    crowd = {
        "category_id": 1,
        "iscrowd": 1,
        "segmentation": {"counts": [0, 6, 6], "size": [3, 4]},
    }
    dog = {"category_id": 90, "iscrowd": 0, "segmentation": [BOX]}
    path = write(tmp_path / "x.json", [crowd, dog])
    found = instances(path, "a.jpg", (3, 4))
    assert [[found.names[v] for v in row] for row in found.values] == [
        ["ignore", "dog", "dog", "background"],
        ["ignore", "dog", "dog", "background"],
        ["ignore", "ignore", "background", "background"],
    ]
    painted = instances(path, "a.jpg", (3, 4), painted=True)
    assert [painted.names[v] for v in painted.values[2]] == ["cat", "cat", *["background"] * 2]


def test_image_without_annotation_is_background(tmp_path):
    path = write(tmp_path / "x.json", [])
    assert image_names(path) == ["a.jpg"]
    assert not instances(path, "a.jpg", (3, 4)).values.any()


def test_what_does_not_fit_is_named(tmp_path):
    path = write(tmp_path / "x.json", [{"category_id": 3, "segmentation": [BOX]}])
    with pytest.raises(FormatError, match="category_id 3, which no category"):
        instances(path, "a.jpg", (3, 4))
    with pytest.raises(FormatError, match=r"lists no image 'b\.jpg'"):
        instances(path, "b.jpg", (3, 4))
    with pytest.raises(FormatError, match="drawn on 4 x 3 pixels, the image has 4 x 5"):
        instances(path, "a.jpg", (5, 4))
    bad = {"category_id": 1, "segmentation": {"counts": [5], "size": [3, 4]}}
    with pytest.raises(FormatError, match="segmentation of annotation 0 cannot be read"):
        instances(write(tmp_path / "y.json", [bad]), "a.jpg", (3, 4))
    (tmp_path / "z.json").write_text("{")
    with pytest.raises(FormatError, match="not JSON"):
        image_names(tmp_path / "z.json")


def test_changed_file_is_read_again(tmp_path):
    path = write(tmp_path / "x.json", [])
    assert not instances(path, "a.jpg", (3, 4)).values.any()
    write(path, [{"category_id": 1, "segmentation": [BOX]}])
    assert instances(path, "a.jpg", (3, 4)).values.any()


def test_panoptic_ids_become_categories(tmp_path):
    pixels = np.array([[[5, 0, 0], [5, 1, 0], [0, 0, 1], [0, 0, 0]]], np.uint8)
    png = tmp_path / "a.png"
    Image.fromarray(pixels).save(png)
    segments = [
        {"id": 5, "category_id": 1, "iscrowd": 0},
        {"id": 5 + 256, "category_id": 90, "iscrowd": 0},
        {"id": 65536, "category_id": 90, "iscrowd": 1},
    ]
    table = write(tmp_path / "t.json", [{"file_name": "a.png", "segments_info": segments}])
    found = panoptic(png, table, (1, 4))
    assert [found.names[v] for v in found.values[0]] == ["cat", "dog", "ignore", "ignore"]
    table = write(tmp_path / "u.json", [{"file_name": "a.png", "segments_info": segments[:2]}])
    with pytest.raises(FormatError, match=r"segments \[65536\] are not listed in u\.json"):
        panoptic(png, table, (1, 4))
