import math

import numpy as np
import pytest

from medseg.metrics.overlap import Counts, dice, iou, overlap_counts, precision, recall


def test_each_ratio_by_hand():
    pred = np.array([[1, 1, 1, 0], [0, 0, 1, 0]], dtype=bool)
    label = np.array([[0, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)
    counts = overlap_counts(pred, label)
    assert counts == Counts(tp=2, fp=2, fn=1)
    assert dice(counts) == pytest.approx(4 / 7)
    assert iou(counts) == pytest.approx(2 / 5)
    assert precision(counts) == pytest.approx(2 / 4)
    assert recall(counts) == pytest.approx(2 / 3)


@pytest.mark.parametrize("shape", [(9, 7), (5, 6, 4)])
def test_dice_follows_from_iou(shape):
    rng = np.random.default_rng(3)
    counts = overlap_counts(rng.random(shape) < 0.4, rng.random(shape) < 0.6)
    assert dice(counts) == pytest.approx(2 * iou(counts) / (1 + iou(counts)), abs=1e-15)


def test_dice_agrees_with_monai_on_random_masks():
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    rng = np.random.default_rng(0)
    for _ in range(5):
        pred, label = rng.random((2, 6, 5, 4)) < 0.5
        expected = metrics.compute_dice(
            torch.from_numpy(pred)[None, None], torch.from_numpy(label)[None, None]
        )
        assert dice(overlap_counts(pred, label)) == pytest.approx(expected.item(), abs=1e-6)


def test_counts_of_small_integers_do_not_overflow():
    mask = np.ones((20, 20), dtype=bool)
    assert overlap_counts(mask, mask) == Counts(tp=400, fp=0, fn=0)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (Counts(tp=0, fp=0, fn=0), (math.nan, math.nan, math.nan, math.nan)),
        (Counts(tp=0, fp=0, fn=5), (0.0, 0.0, math.nan, 0.0)),
        (Counts(tp=0, fp=5, fn=0), (0.0, 0.0, 0.0, math.nan)),
    ],
)
def test_empty_masks(counts, expected):
    values = dice(counts), iou(counts), precision(counts), recall(counts)
    assert values == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (Counts(tp=0, fp=0, fn=0), (1.0, 1.0, 1.0, 1.0)),
        (Counts(tp=0, fp=0, fn=5), (0.0, 0.0, 0.0, 0.0)),
        (Counts(tp=0, fp=5, fn=0), (0.0, 0.0, 0.0, math.nan)),
        (Counts(tp=2, fp=2, fn=1), (4 / 7, 2 / 5, 2 / 4, 2 / 3)),
    ],
)
def test_two_empty_masks_may_count_as_perfect(counts, expected):
    values = tuple(
        metric(counts, both_empty="perfect") for metric in (dice, iou, precision, recall)
    )
    assert values == pytest.approx(expected, nan_ok=True)


def test_the_shape_worked_in_the_reference():
    label, pred = np.zeros((2, 12, 12), dtype=bool)
    label[2:8, 3:9] = True
    pred[2:8, 4:11] = True
    pred[10, 1] = True
    counts = overlap_counts(pred, label)
    assert dice(counts) == pytest.approx(0.7594936709, abs=1e-10)
    assert iou(counts) == pytest.approx(0.6122448980, abs=1e-10)
