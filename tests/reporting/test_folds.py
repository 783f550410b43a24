import math
from dataclasses import replace

import numpy as np
import pytest

from medseg.reporting.folds import fold_results
from tests.reporting.examples import label_map, report


@pytest.fixture
def missed():
    label = label_map()
    return np.where(label == 2, 1, label).astype(np.int16)


def validated(folder, name, pred, fold, group=None):
    made = report(folder, name, pred, label_map(), role="validation", fold=fold)
    return replace(made, group=group)


def test_each_fold_is_summed_up_over_its_patients(tmp_path, missed):
    """Fold 1: a patient with two scans (tumour found, missed) and one with one (found): 0.75."""
    reports = [
        validated(tmp_path, "a", label_map(), 0),
        validated(tmp_path, "b", label_map(), 1, "p"),
        validated(tmp_path, "c", missed, 1, "p"),
        validated(tmp_path, "d", label_map(), 1, "q"),
        report(tmp_path, "t", missed, label_map()),
    ]
    first, second = fold_results(reports)
    assert (first.fold, first.cases, first.mean_dice) == (0, 1, 1.0)
    assert (second.fold, second.cases) == (1, 3)
    assert second.dice["tumour"] == pytest.approx(0.75)
    assert second.mean_dice == pytest.approx((0.75 + second.dice["liver"]) / 2)


def test_of_one_fold_or_none_there_is_nothing_to_set_side_by_side(tmp_path):
    assert fold_results([]) == ()
    assert fold_results([validated(tmp_path, "a", label_map(), 0)]) == ()


def test_a_structure_that_no_case_of_a_fold_has_is_left_out_of_its_mean(tmp_path):
    no_tumour = np.where(label_map() == 2, 0, label_map()).astype(np.int16)
    empty = report(tmp_path, "e", no_tumour, no_tumour, role="validation", fold=1)
    first, second = fold_results([validated(tmp_path, "a", label_map(), 0), empty])
    assert first.dice["tumour"] == 1
    assert math.isnan(second.dice["tumour"])
    assert second.mean_dice == 1
