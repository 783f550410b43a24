import numpy as np
import pytest

from medseg.metrics.instances import count_overlaps, find_lesions, match_by_iou
from tests.metrics.test_lesions import worked


def test_ious_of_the_example():
    pred, label = worked()
    overlaps = count_overlaps(find_lesions(pred), find_lesions(label))
    assert sorted(overlaps.iou[overlaps.iou > 0]) == [0.5, 0.5]
    assert overlaps.true_sizes.tolist() == [9, 4, 4]


def test_numbers_have_no_gaps_after_small_ones_left():
    mask = np.zeros((1, 9), dtype=bool)
    mask[0, 0] = mask[0, 2:4] = mask[0, 5] = mask[0, 7:9] = True
    assert find_lesions(mask, min_voxels=2).tolist() == [[0, 0, 1, 1, 0, 0, 0, 2, 2]]


def test_below_one_half_the_assignment_is_chosen_as_a_whole():
    iou = np.array([[0.4, 0.3], [0.35, 0.0]])  # greedy takes .4 and leaves the second alone
    assert list(zip(*(x.tolist() for x in match_by_iou(iou, 0.2)), strict=True)) == [(0, 1), (1, 0)]
    assert list(zip(*(x.tolist() for x in match_by_iou(iou, 0.32)), strict=True)) == [(0, 0)]
    with pytest.raises(ValueError, match="should be in"):
        match_by_iou(iou, 1.0)


@pytest.mark.parametrize("shape", [(9, 11), (6, 7, 5)])
def test_overlaps_agree_with_each_pair_of_masks(shape):
    rng = np.random.default_rng(0)
    pred, label = rng.choice([0, 2, 5, 900], size=(2, *shape))
    overlaps = count_overlaps(pred, label)
    for i, t in enumerate((2, 5, 900)):
        assert overlaps.true_sizes[i] == (label == t).sum()
        for j, p in enumerate((2, 5, 900)):
            both, either = ((label == t) & (pred == p)).sum(), ((label == t) | (pred == p)).sum()
            assert overlaps.intersection[i, j] == both
            assert overlaps.iou[i, j] == both / either


def test_empty_masks_have_no_objects():
    empty = np.zeros((3, 3), dtype=bool)
    overlaps = count_overlaps(find_lesions(empty), find_lesions(empty))
    assert overlaps.intersection.shape == (0, 0)
    rows, cols = match_by_iou(overlaps.iou, 0.1)
    assert len(rows) == len(cols) == 0
