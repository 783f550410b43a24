import numpy as np
import pytest
from scipy import ndimage

from medseg.metrics import box as module
from medseg.metrics.box import content_box, structure_crops, union_box


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("shape", [(17,), (9, 16), (7, 8, 24), (5, 6, 7)])
@pytest.mark.parametrize("layout", ["C", "F", "flipped", "part"])
def test_the_box_is_scipys(shape, dtype, layout):
    rng = np.random.default_rng(1)
    for share in (0.002, 0.02, 0.5):
        array = (rng.random(shape) < share).astype(dtype)
        array[tuple(n // 2 for n in shape)] = 1
        laid = array
        if layout == "F":
            laid = np.asfortranarray(array)
        if layout == "flipped":
            laid = np.ascontiguousarray(array[::-1])[::-1]
        if layout == "part":
            laid = np.pad(array, 2, constant_values=1)[(slice(2, -2),) * array.ndim]
        assert content_box(laid) == ndimage.find_objects(array.astype(np.uint8))[0]


def test_values_below_0_are_content():
    array = np.zeros((4, 8), dtype=np.int16)
    array[3, 7] = -1
    assert content_box(array) == (slice(3, 4), slice(7, 8))


def test_nothing_has_no_box():
    assert content_box(np.zeros((4, 8), dtype=np.int16)) is None
    assert union_box(np.zeros((4, 8), dtype=bool), np.zeros((4, 8), dtype=bool)) is None


def test_the_union_box_holds_both():
    first, second = np.zeros((2, 6, 9), dtype=np.uint8)
    first[1, 2], second[4, 7] = 3, 1
    assert union_box(first, second) == (slice(1, 5), slice(2, 8))
    assert union_box(first, np.zeros_like(first)) == (slice(1, 2), slice(2, 3))


@pytest.mark.parametrize("few", [0, 6], ids=["search", "compare"])
def test_the_crops_hold_each_structure_in_its_box(monkeypatch, few):
    monkeypatch.setattr(module, "FEW", few)
    pred, label = np.zeros((2, 6, 300), dtype=np.int16)
    pred[1, 2:5], label[2, 3:6], label[5, 299] = 1, 1, 2
    pred[4, 0:3], label[4, 0:3] = 3, -1  # ignored
    crops = list(structure_crops(pred, label, [(1,), (2,), (3,), (1, 2)]))
    one = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
    np.testing.assert_array_equal(crops[0][0], one)
    np.testing.assert_array_equal(crops[0][1], one[::-1, ::-1])
    np.testing.assert_array_equal(crops[1][0], [[False]])
    np.testing.assert_array_equal(crops[1][1], [[True]])
    assert not crops[2][0].any()
    assert not crops[2][1].any()
    assert crops[3][0].shape == crops[3][1].shape == (5, 298)


def test_label_maps_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="must be equal"):
        list(structure_crops(np.zeros((2, 3), int), np.zeros((3, 2), int), [(1,)]))
