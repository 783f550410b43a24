import math

import numpy as np
import pytest

from medseg.metrics.instances import find_lesions
from medseg.metrics.panoptic import panoptic_quality
from tests.metrics.test_lesions import lift, worked


@pytest.mark.parametrize("raise_to_3d", [False, True])
def test_the_example_worked_in_the_reference(raise_to_3d):
    masks = [lift(m) for m in worked()] if raise_to_3d else worked()
    pred, label = (find_lesions(m) for m in masks)
    half = panoptic_quality(pred, label, iou_threshold=0.5)
    assert (half.sq, half.rq, half.pq) == (0, 0, 0)  # an IoU of exactly .5 fails
    lower = panoptic_quality(pred, label, iou_threshold=0.4)
    assert lower.sq == pytest.approx(0.5, abs=1e-12)
    assert lower.rq == pytest.approx(2 / 3, abs=1e-12)
    assert lower.pq == pytest.approx(1 / 3, abs=1e-12)


def peer(pred, label, threshold):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    arrays = [torch.from_numpy(x.astype(np.int32)) for x in (pred, label)]
    return [
        metrics.compute_panoptic_quality(
            *arrays, metric_name=name, remap=True, match_iou_threshold=threshold
        ).item()
        for name in ("sq", "rq", "pq")
    ]


def test_the_example_agrees_with_monai():
    pred, label = (find_lesions(m) for m in worked())
    assert peer(pred, label, 0.4) == pytest.approx([0.4999998, 0.6666664, 0.3333322], abs=2e-6)
    for threshold in (0.4, 0.5):
        ours = panoptic_quality(pred, label, iou_threshold=threshold)
        assert [ours.sq, ours.rq, ours.pq] == pytest.approx(peer(pred, label, threshold), abs=2e-6)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7])
def test_random_objects_agree_with_monai(threshold):
    rng = np.random.default_rng(5)
    label = np.zeros((40, 40), dtype=np.int64)
    pred = np.zeros_like(label)
    for k in range(1, 9):
        i, j = rng.integers(0, 32, 2)
        label[i : i + 8, j : j + 8] = k * 3  # numbers with gaps
        i, j = i + rng.integers(0, 3), j + rng.integers(0, 3)
        pred[i : i + 8, j : j + 8] = 100 - k
    ours = panoptic_quality(pred, label, iou_threshold=threshold)
    assert ours.tp > 0
    assert [ours.sq, ours.rq, ours.pq] == pytest.approx(peer(pred, label, threshold), abs=1e-5)


def test_images_are_added_first_and_divided_last():
    pred, label = (find_lesions(m) for m in worked())
    perfect = panoptic_quality(label, label)
    assert (perfect.sq, perfect.rq, perfect.pq) == (1, 1, 1)
    both = perfect + panoptic_quality(pred, label, iou_threshold=0.4)
    assert (both.tp, both.fp, both.fn, both.iou_sum) == (5, 1, 1, 4.0)
    assert both.pq == pytest.approx(4 / 6)


def test_images_without_objects():
    empty, label = np.zeros((4, 4), dtype=np.int16), np.eye(4, dtype=np.int16)
    nothing = panoptic_quality(empty, empty)
    assert all(math.isnan(value) for value in (nothing.sq, nothing.rq, nothing.pq))
    missed = panoptic_quality(empty, label)
    assert (missed.fn, missed.pq, missed.sq) == (1, 0, 0)
    invented = panoptic_quality(label, empty)
    assert (invented.fp, invented.pq) == (1, 0)
    with pytest.raises(ValueError, match="must be equal"):
        panoptic_quality(empty, label[:2])
