import math

import numpy as np
import pytest
from skimage.morphology import skeletonize

from medseg.metrics.cldice import cldice, skeleton


def tubes():
    label, pred = np.zeros((2, 9, 15), dtype=bool)
    label[3:6, 1:14] = True
    pred[3:6, 1:9] = pred[4:7, 9:14] = True
    return pred, label


def test_the_shape_worked_in_the_reference():
    pred, label = tubes()
    found = cldice(pred, label)
    assert found.precision == 1.0
    assert found.sensitivity == pytest.approx(0.9166666667, abs=1e-10)
    assert found.cldice == pytest.approx(0.9565217391, abs=1e-10)


def test_swapping_swaps_precision_and_sensitivity():
    pred, label = tubes()
    forth, back = cldice(pred, label), cldice(label, pred)
    assert (forth.precision, forth.sensitivity) == (back.sensitivity, back.precision)
    assert forth.cldice == back.cldice


def test_a_broken_tube_in_3d():
    label = np.zeros((5, 5, 21), dtype=bool)
    label[1:4, 1:4, 2:19] = True
    pred = label.copy()
    pred[..., 10:13] = False
    found = cldice(pred, label)
    assert found.precision == 1.0
    line = skeletonize(label)
    assert found.sensitivity == (line & pred).sum() / line.sum() < 1.0


@pytest.mark.parametrize("shape", [(20, 30), (10, 12, 14)])
def test_the_crop_changes_no_skeleton(shape):
    rng = np.random.default_rng(0)
    mask = np.zeros(shape, dtype=bool)
    inner = tuple(slice(3, n - 4) for n in shape)
    mask[inner] = rng.random(mask[inner].shape) < 0.8
    np.testing.assert_array_equal(skeleton(mask), skeletonize(mask))


def test_a_mask_that_touches_the_edge_keeps_its_skeleton():
    mask = np.zeros((9, 15), dtype=bool)
    mask[0:3] = True
    expected = skeletonize(np.pad(mask, 4))[4:-4, 4:-4]
    np.testing.assert_array_equal(skeleton(mask), expected)
    assert expected.any()


def test_lines_that_miss_each_other_score_0():
    pred, label = np.zeros((2, 6, 8), dtype=bool)
    pred[1, 1:7] = label[4, 1:7] = True
    assert cldice(pred, label).cldice == 0.0


def test_empty_masks():
    full = np.ones((4, 5), dtype=bool)
    assert cldice(full, ~full).cldice == cldice(~full, full).cldice == 0.0
    assert math.isnan(cldice(~full, ~full).cldice)


def test_masks_of_different_shapes_are_refused():
    mask = np.ones((3, 4), dtype=bool)
    with pytest.raises(ValueError, match="must be equal"):
        cldice(mask, mask.T)
