import math

import numpy as np
import pytest

from medseg.metrics.confusion import (
    confusion_matrix,
    confusion_scores,
    mean_present,
    miou_image,
    sum_over_ranks,
)
from medseg.metrics.overlap import dice, iou, overlap_counts, precision, recall

WORKED = np.array([[3, 0, 1], [0, 2, 0], [0, 1, 2]], dtype=np.int64)
SHIPS = np.array([[95, 0], [5, 0]], dtype=np.int64)


def test_rows_are_the_truth():
    label = np.array([[0, 0, 0, 0, 1], [1, 2, 2, 2, -1]], dtype=np.int16)
    pred = np.array([[0, 0, 0, 2, 1], [1, 1, 2, 2, 1]], dtype=np.int16)
    matrix = confusion_matrix(pred, label, 3)
    assert matrix.tolist() == WORKED.tolist()
    assert matrix.dtype == np.int64


def test_many_classes_do_not_overflow():
    label = np.full((3, 3), 14, dtype=np.uint8)  # 19 x 14 + 3 is 13 in uint8
    pred = np.full((3, 3), 3, dtype=np.uint8)
    matrix = confusion_matrix(pred, label, 19)
    assert matrix[14, 3] == matrix.sum() == 9


@pytest.mark.parametrize("value", [3, -1])
def test_a_class_outside_the_table_is_refused(value):
    label = np.zeros((2, 2), dtype=np.int16)
    with pytest.raises(ValueError, match=r"pred holds -?\d\.\.\d, outside \[0, 3\)"):
        confusion_matrix(np.array([[0, value], [0, 0]], dtype=np.int16), label, 3)
    with pytest.raises(ValueError, match="label holds"):
        confusion_matrix(label, label + np.int16(5), 3)


def test_arrays_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="must be equal"):
        confusion_matrix(np.zeros((2, 2), np.int16), np.zeros((1, 2), np.int16), 2)


def test_an_image_that_is_ignored_altogether_counts_nothing():
    label = np.full((2, 2), -1, dtype=np.int16)
    matrix = confusion_matrix(np.ones((2, 2), dtype=np.int16), label, 2)
    assert matrix.sum() == 0
    scores = confusion_scores(matrix)
    for value in (scores.pixel_accuracy, scores.miou, scores.fwiou, scores.mpa_recall):
        assert math.isnan(value)


def test_the_three_classes_worked_in_the_reference():
    scores = confusion_scores(WORKED)
    assert scores.pixel_accuracy == pytest.approx(7 / 9, abs=1e-12)
    assert scores.recall == pytest.approx([0.75, 1, 2 / 3], abs=1e-12)
    assert scores.mpa_recall == pytest.approx(0.8055555556, abs=1e-10)
    assert scores.precision == pytest.approx([1, 2 / 3, 2 / 3], abs=1e-12)
    assert scores.mpa_precision == pytest.approx(0.7777777778, abs=1e-10)
    assert scores.iou == pytest.approx([0.75, 2 / 3, 0.5], abs=1e-12)
    assert scores.miou == pytest.approx(0.6388888889, abs=1e-10)
    assert scores.fwiou == pytest.approx(0.6481481481, abs=1e-10)
    assert scores.dice == pytest.approx([0.857142857, 0.8, 0.666666667], abs=1e-9)
    assert scores.mean_dice == pytest.approx(0.7746031746, abs=1e-10)
    assert scores.specificity == pytest.approx([5 / 5, 6 / 7, 5 / 6], abs=1e-12)


def test_the_ships_worked_in_the_reference():
    scores = confusion_scores(SHIPS)
    assert (scores.pixel_accuracy, scores.miou) == (0.95, 0.475)
    assert scores.dice == pytest.approx([0.9743589744, 0], abs=1e-10)
    assert scores.mean_dice == pytest.approx(0.4871794872, abs=1e-10)
    assert math.isnan(scores.precision[1])  # never predicted
    assert scores.mpa_precision == 0.95


def test_an_absent_class_is_in_no_mean_and_an_invented_one_counts_as_zero():
    matrix = np.array([[8, 0, 2], [0, 0, 0], [0, 0, 0]], dtype=np.int64)
    scores = confusion_scores(matrix)
    assert np.isnan([scores.iou[1], scores.dice[1], scores.recall[1], scores.specificity[1]]).all()
    assert (scores.iou[2], scores.dice[2]) == (0.0, 0.0)
    assert scores.miou == pytest.approx((0.8 + 0) / 2)
    assert scores.fwiou == pytest.approx(0.8)  # the invented class has no share of the truth
    assert scores.mpa_recall == pytest.approx(0.8)
    assert mean_present(np.array([np.nan])) != 0


def test_adding_matrices_first_differs_from_the_mean_over_images():
    half = np.array([[1, 1], [0, 2]], dtype=np.int64)
    whole = np.array([[100, 0], [0, 2]], dtype=np.int64)
    assert confusion_scores(half + whole).miou == pytest.approx((101 / 102 + 4 / 5) / 2)
    assert miou_image([half, whole]) == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)


@pytest.mark.parametrize("shape", [(9, 7), (5, 6, 4)])
def test_class_scores_equal_those_of_its_mask(shape):
    rng = np.random.default_rng(1)
    pred, label = rng.integers(0, 3, (2, *shape)).astype(np.int16)
    scores = confusion_scores(confusion_matrix(pred, label, 3))
    for k in range(3):
        counts = overlap_counts(pred == k, label == k)
        assert scores.dice[k] == dice(counts)
        assert scores.iou[k] == iou(counts)
        assert scores.precision[k] == precision(counts)
        assert scores.recall[k] == recall(counts)


def test_scores_agree_with_monai():
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    rng = np.random.default_rng(2)
    pred, label = rng.random((2, 40)) < 0.4
    scores = confusion_scores(confusion_matrix(pred.astype(np.int16), label.astype(np.int16), 2))
    one_hot = [torch.from_numpy(x.astype(np.float32))[None, None] for x in (pred, label)]
    counts = metrics.get_confusion_matrix(*one_hot)
    for name, ours in (
        ("sensitivity", scores.recall[1]),
        ("precision", scores.precision[1]),
        ("specificity", scores.specificity[1]),
        ("accuracy", scores.pixel_accuracy),
        ("threat score", scores.iou[1]),
        ("f1 score", scores.dice[1]),
    ):
        peer = metrics.compute_confusion_matrix_metric(name, counts).item()
        assert ours == pytest.approx(peer, abs=1e-6), name


def test_the_matrices_of_all_processes_are_added(tmp_path):
    torch = pytest.importorskip("torch")
    assert sum_over_ranks(WORKED) is WORKED  # no process group
    store = tmp_path / "store"
    torch.multiprocessing.start_processes(
        _rank, args=(str(store), str(tmp_path)), nprocs=2, start_method="fork"
    )
    for rank in range(2):
        assert np.load(tmp_path / f"{rank}.npy").tolist() == (WORKED * 3).tolist()


def _rank(rank, store, out):
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    np.save(f"{out}/{rank}.npy", sum_over_ranks(WORKED * (rank + 1)))
    distributed.destroy_process_group()
