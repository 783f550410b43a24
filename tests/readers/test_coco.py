import json

import pytest

from medseg.errors import ManifestError
from medseg.io.load import load_image, load_label
from medseg.readers import read_cases

PARTS = {"train": {"file": "a/instances.json", "images": "p"}}


@pytest.fixture
def coco(files):
    """Two photographs of 6 x 7; a cat of 2 pixels on the first."""
    files.photo("p/1.jpg", "p/2.jpg")
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 6, "width": 7} for i in (1, 2)]
    cat = {"image_id": 1, "category_id": 17, "segmentation": [[0, 0, 2, 0, 2, 1, 0, 1]]}
    content = {
        "images": images,
        "annotations": [cat],
        "categories": [{"id": 17, "name": "cat"}],
    }
    files.text("a/.keep", "")
    files.text("a/instances.json", json.dumps(content))
    return files


def test_categories_are_labels_of_the_same_name(coco, manifest):
    described = manifest("coco", options={"parts": PARTS}, labels={"dog": 1, "cat": 17})
    found = read_cases(described)
    assert [(c.id, c.label[0].item, c.label[0].decoder) for c in found] == [
        ("1", "1.jpg", "coco"),
        ("2", "2.jpg", "coco"),
    ]
    masks = [load_label(c, described.scheme, load_image(c)) for c in found]
    assert [(m == 2).sum() for m in masks] == [2, 0]
    assert masks[0][0, :3].tolist() == [2, 2, 0]


def test_images_that_are_not_there_are_named(coco, manifest):
    (coco.root / "p/2.jpg").unlink()
    with pytest.raises(ManifestError, match=r"1 image\(s\) of part 'train' are not in .*: 2\.jpg"):
        read_cases(manifest("coco", options={"parts": PARTS}))
    absent = {"train": PARTS["train"] | {"file": "b.json"}}
    with pytest.raises(ManifestError, match=r"b\.json: no such file"):
        read_cases(manifest("coco", options={"parts": absent}))


def test_via_file_annotates_many_images(coco, manifest):
    shape = {"name": "rect", "x": 0, "y": 0, "width": 3, "height": 1}
    region = {"shape_attributes": shape, "region_attributes": {"class": "cat"}}
    content = {n: {"filename": n, "regions": [region]} for n in ("1.jpg", "2.jpg")}
    coco.text("via.json", json.dumps(content))
    described = manifest(
        "coco",
        options={"parts": {"all": {"file": "via.json", "images": "p"}}, "encoding": "via"},
        labels={"cat": 1},
    )
    found = read_cases(described)
    assert [(load_label(c, described.scheme, load_image(c)) == 1).sum() for c in found] == [3, 3]
