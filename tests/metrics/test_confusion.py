import numpy as np
import pytest

from medseg.metrics.confusion import confusion_matrix


def test_rows_are_the_truth():
    label = np.array([[0, 0, 0, 0, 1], [1, 2, 2, 2, -1]], dtype=np.int16)
    pred = np.array([[0, 0, 0, 2, 1], [1, 1, 2, 2, 1]], dtype=np.int16)
    expected = [[3, 0, 1], [0, 2, 0], [0, 1, 2]]
    matrix = confusion_matrix(pred, label, 3)
    assert matrix.tolist() == expected
    assert matrix.dtype == np.int64


def test_many_classes_do_not_overflow():
    label = np.full((3, 3), 14, dtype=np.int16)
    pred = np.full((3, 3), 3, dtype=np.int16)
    matrix = confusion_matrix(pred, label, 19)
    assert matrix[14, 3] == matrix.sum() == 9


def test_a_class_outside_the_table_is_refused():
    label = np.zeros((2, 2), dtype=np.int16)
    with pytest.raises(ValueError, match=r"pred holds 0\.\.3, outside \[0, 3\)"):
        confusion_matrix(np.array([[0, 3], [0, 0]], dtype=np.int16), label, 3)


def test_an_image_that_is_ignored_altogether_counts_nothing():
    label = np.full((2, 2), -1, dtype=np.int16)
    assert confusion_matrix(np.ones((2, 2), dtype=np.int16), label, 2).sum() == 0
