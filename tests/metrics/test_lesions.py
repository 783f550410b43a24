import math

import numpy as np
import pytest

from medseg.metrics.instances import find_lesions
from medseg.metrics.lesions import cc_dice, lesion_scores, summarise_lesions


def worked():
    """The 6 x 12 example: lesions A, B, C; two predictions that hit A and B, one stray pixel."""
    label, pred = np.zeros((2, 6, 12), dtype=bool)
    label[1:4, 1:4] = label[1:3, 6:8] = label[4:6, 9:11] = True
    pred[1:4, 2:5] = pred[1:3, 6:7] = pred[5, 0] = True
    return pred, label


def lift(mask, depth=1):
    """The same shape in 3-D, ``depth`` slices thick, with an empty slice on each side."""
    return np.pad(np.repeat(mask[..., None], depth, axis=2), ((0, 0), (0, 0), (1, 1)))


@pytest.mark.parametrize("raise_to_3d", [False, True])
def test_the_example_worked_in_the_reference(raise_to_3d):
    pred, label = (lift(m) for m in worked()) if raise_to_3d else worked()
    overlap = lesion_scores(pred, label)
    assert (overlap.found, overlap.missed, overlap.false_positives) == (2, 1, 1)
    for value in (overlap.sensitivity, overlap.precision, overlap.f1):
        assert value == pytest.approx(2 / 3, abs=1e-12)
    assert overlap.dices == pytest.approx((2 * 6 / 18, 2 * 2 / 6))
    assert overlap.biases == (0.0, -2.0)
    assert overlap.mean_bias == -1.0
    assert overlap.connectivity == (26 if raise_to_3d else 8)
    strict = lesion_scores(pred, label, match="iou", iou_threshold=0.5)
    assert (strict.found, strict.confirmed, strict.missed, strict.false_positives) == (0, 0, 3, 3)
    assert strict.f1 == 0
    assert math.isnan(strict.mean_dice)
    loose = lesion_scores(pred, label, match="iou", iou_threshold=0.1)
    assert (loose.found, loose.missed, loose.false_positives) == (2, 1, 1)


def test_a_component_over_two_lesions_confirms_once_and_finds_twice():
    label = np.zeros((3, 9), dtype=bool)
    label[1, 1:3] = label[1, 5:8] = True
    bridge = np.zeros_like(label)
    bridge[1, 1:8] = True
    merged = lesion_scores(bridge, label)
    assert (merged.found, merged.confirmed, merged.false_positives) == (2, 1, 0)
    assert (merged.sensitivity, merged.precision, merged.f1) == (1, 1, 1)
    assert merged.dices == pytest.approx((2 * 2 / 9, 2 * 3 / 10))
    split = lesion_scores(label, bridge)
    assert (split.found, split.confirmed) == (1, 2)
    assert split.dices == pytest.approx((2 * 5 / 12,))  # both parts together
    one_to_one = lesion_scores(bridge, label, match="iou", iou_threshold=0.1)
    assert (one_to_one.found, one_to_one.confirmed, one_to_one.missed) == (1, 1, 1)


@pytest.mark.parametrize(("connectivity", "lesions"), [(None, 1), (26, 1), (18, 2), (6, 2)])
def test_corners_connect_by_default_in_3d(connectivity, lesions):
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[1, 1, 1] = mask[2, 2, 2] = True
    assert lesion_scores(mask, mask, connectivity=connectivity).lesions == lesions


def test_corners_connect_by_default_in_2d():
    mask = np.eye(3, dtype=bool)
    assert lesion_scores(mask, mask).lesions == 1
    assert lesion_scores(mask, mask, connectivity=4).lesions == 3
    with pytest.raises(ValueError, match="connectivity 26 in 2-D"):
        lesion_scores(mask, mask, connectivity=26)


def test_small_components_leave_both_sides_before_matching():
    label, pred = np.zeros((2, 4, 12), dtype=bool)
    label[1, 1:5] = label[1, 8] = True  # 4 and 1 voxels
    pred[1, 1:3] = pred[3, 6] = pred[1, 8] = True  # 2, 1 and 1
    plain = lesion_scores(pred, label)
    assert (plain.lesions, plain.predicted, plain.found) == (2, 3, 2)
    spacing = (0.5, 3.0)  # 1.5 mm² each
    large = lesion_scores(pred, label, spacing, min_size=3.0)
    assert (large.lesions, large.predicted, large.found, large.false_positives) == (1, 1, 1, 0)
    assert large.biases == (-3.0,)
    assert (large.min_size, large.size_unit) == (3.0, "mm3")
    none = lesion_scores(pred, label, spacing, min_size=3.1)
    assert (none.lesions, none.predicted, none.found, none.missed) == (1, 0, 0, 1)


def test_no_true_lesion_keeps_the_false_positives():
    pred, label = worked()
    empty = np.zeros_like(label)
    free = lesion_scores(pred, empty)
    assert math.isnan(free.sensitivity)
    assert (free.false_positives, free.precision, free.f1) == (3, 0, 0)
    missed = lesion_scores(empty, label)
    assert (missed.sensitivity, missed.missed) == (0, 3)
    assert math.isnan(missed.precision)
    for value in (lesion_scores(empty, empty).f1, lesion_scores(empty, empty).precision):
        assert math.isnan(value)


def test_false_positives_are_per_case_lesion_free_ones_included():
    pred, label = worked()
    empty = np.zeros_like(label)
    pooled = summarise_lesions([lesion_scores(pred, label), lesion_scores(pred, empty)])
    assert pooled.fp_per_case == (1 + 3) / 2
    assert (pooled.sensitivity, pooled.precision) == (pytest.approx(2 / 3), pytest.approx(2 / 6))
    assert pooled.f1 == pytest.approx(4 / (4 + 4 + 1))
    assert pooled.mean_dice == pytest.approx(2 / 3)
    assert math.isnan(summarise_lesions([]).fp_per_case)


def cells_by_brute_force(pred, label, spacing):
    """CC-Dice by comparing every voxel with every lesion voxel."""
    lesions = find_lesions(label)
    count = lesions.max()
    places = [np.argwhere(lesions == k + 1) * spacing for k in range(count)]
    guessed, hits = np.zeros(count), np.zeros(count)
    for voxel in np.argwhere(pred):
        apart = [np.linalg.norm(p - voxel * spacing, axis=1).min() for p in places]
        cell = int(np.argmin(apart))
        assert sorted(apart)[0] < sorted(apart)[1] - 1e-9, "a tie: choose another seed"
        guessed[cell] += 1
        hits[cell] += lesions[tuple(voxel)] == cell + 1
    sizes = np.bincount(lesions.ravel())[1:]
    return np.mean(2 * hits / (guessed + sizes))


@pytest.mark.parametrize("spacing", [(1.03, 2.17), (1.03, 2.17, 0.71)])
def test_cc_dice_agrees_with_brute_force(spacing):
    rng = np.random.default_rng(4)
    shape = (14, 9, 7)[: len(spacing)]
    label = np.zeros(shape, dtype=bool)
    label[1:3, 1:3] = label[8:13, 5:7] = label[5, 8] = True
    pred = rng.random(shape) < 0.3
    assert cc_dice(pred, label, spacing) == pytest.approx(
        cells_by_brute_force(pred, label, np.array(spacing)), abs=1e-12
    )


def test_cc_dice_weighs_every_lesion_equally():
    label = np.zeros((10, 20), dtype=bool)
    label[0:9, 0:9] = label[4, 18] = True
    large = label.copy()
    large[4, 18] = False
    assert cc_dice(large, label) == 0.5  # plain Dice: 162 / 163
    stray = label.copy()
    stray[4, 16] = True  # nearest to the small lesion
    assert cc_dice(stray, label) == pytest.approx((1 + 2 / 3) / 2)
    assert cc_dice(label, label) == 1


def test_cc_dice_of_empty_masks():
    _, label = worked()
    assert cc_dice(np.zeros_like(label), label) == 0
    assert math.isnan(cc_dice(label, np.zeros_like(label)))
    assert math.isnan(cc_dice(np.zeros_like(label), np.zeros_like(label)))
