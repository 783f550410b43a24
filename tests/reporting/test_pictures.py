import numpy as np
import pytest
from PIL import Image

from medseg.reporting.pictures import Scene, draw_case
from tests.reporting.examples import SCHEME, label_map, volume


def scene(pred, label, modality="CT"):
    image = np.zeros(pred.shape, dtype=np.float32)
    return Scene(
        case="a",
        image=volume(image),
        pred=pred,
        label=label,
        structures=SCHEME.structures,
        referenced=frozenset() if label is None else frozenset({"liver", "tumour"}),
        modality=modality,
    )


def test_three_planes_and_three_close_ups_where_the_masks_differ(tmp_path):
    label = label_map()
    pred = label.copy()
    pred[4, 4:8, 4:6] = 0
    pictures = draw_case(scene(pred, label), tmp_path)
    assert [p.file for p in pictures] == [
        f"{view}{kind}.png"
        for kind in ("", "_difference")
        for view in ("axial", "coronal", "sagittal")
    ]
    assert all((tmp_path / p.file).is_file() for p in pictures)
    assert pictures[5].title == "Sagittal, slice 5 of 16"  # where the voxels are missing
    assert "reference dashed" in pictures[0].alt
    assert "patient's right is on the left" in pictures[0].alt


def test_perfect_agreement_has_no_close_up(tmp_path):
    assert len(draw_case(scene(label_map(), label_map()), tmp_path)) == 3


def test_without_reference_only_the_prediction_is_named(tmp_path):
    pictures = draw_case(scene(label_map(), None), tmp_path)
    assert len(pictures) == 3
    assert "reference" not in pictures[0].alt


def test_the_slice_goes_through_the_structure(tmp_path):
    pred = np.zeros((10, 12, 9), dtype=np.int16)
    pred[2:4, 8:10, 7] = 1
    titles = [p.title for p in draw_case(scene(pred, None), tmp_path)]
    assert titles[0] == "Axial, slice 8 of 9"
    assert titles[1] in {"Coronal, slice 9 of 12", "Coronal, slice 10 of 12"}
    assert titles[2] in {"Sagittal, slice 3 of 10", "Sagittal, slice 4 of 10"}


def test_pictures_have_the_proportions_of_the_body(tmp_path):
    draw_case(scene(np.zeros((40, 40, 10), dtype=np.int16), None), tmp_path)
    with Image.open(tmp_path / "sagittal.png") as picture:
        width, height = picture.size  # 40 * 2 mm by 10 * 4 mm
    assert width / height == pytest.approx(2.0, rel=0.02)


def test_an_empty_case_is_shown_in_its_middle(tmp_path):
    empty = np.zeros((10, 12, 9), dtype=np.int16)
    titles = [p.title for p in draw_case(scene(empty, empty), tmp_path)]
    assert titles == ["Axial, slice 5 of 9", "Coronal, slice 7 of 12", "Sagittal, slice 6 of 10"]


def test_ignored_voxels_are_no_difference(tmp_path):
    label = label_map()
    pred = label.copy()
    pred[4, 4:8, 4:6] = 0
    label[4, 4:8, 4:6] = -1
    assert len(draw_case(scene(pred, label), tmp_path)) == 3


def test_a_photograph_is_one_picture(tmp_path):
    (picture,) = draw_case(scene(label_map((20, 30)), label_map((20, 30)), "photo"), tmp_path)
    assert picture.title == "Image"
    with Image.open(tmp_path / picture.file) as opened:
        width, height = opened.size
    assert width / height == pytest.approx(1.5, rel=0.02)
