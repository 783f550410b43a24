import numpy as np
import pytest

from medseg.reporting.case_report import edges_touched, load_report, save_report
from tests.reporting.examples import SCHEME, label_map, report


@pytest.mark.parametrize(
    ("place", "edge"),
    [
        ((0, 3, 3), "left"),
        ((-1, 3, 3), "right"),
        ((3, 0, 3), "back"),
        ((3, -1, 3), "front"),
        ((3, 3, 0), "lower"),
        ((3, 3, -1), "upper"),
    ],
)
def test_each_edge_of_the_scan_has_its_name(place, edge):
    pred = np.zeros((8, 8, 8), dtype=np.int16)
    pred[place] = 1
    liver, tumour = SCHEME.structures
    assert edges_touched(pred, liver) == (edge,)
    assert edges_touched(pred, tumour) == ()


def test_a_structure_inside_touches_nothing():
    assert edges_touched(label_map(), SCHEME.structures[0]) == ()


def test_photographs_and_single_slices_have_no_such_edge():
    full = SCHEME.structures[0]
    assert edges_touched(np.ones((4, 4), dtype=np.int16), full) == ()
    single = np.zeros((5, 5, 1), dtype=np.int16)
    single[2, 2, 0] = 1
    assert edges_touched(single, full) == ()


def test_a_saved_report_reads_back_the_same(tmp_path):
    label = label_map()
    pred = np.where(label == 2, 1, label).astype(np.int16)  # tumour missed: inf and NaN inside
    made = report(tmp_path, "a", pred, label)
    assert made.scores[1].status == "missed"
    assert repr(load_report(save_report(made, tmp_path))) == repr(made)


def test_a_photograph_reports_px_and_a_confusion_matrix(tmp_path):
    label = label_map((16, 14))
    made = report(tmp_path, "p", label, label)
    assert made.unit == "px"
    assert made.confusion == ((176, 0, 0), (0, 47, 0), (0, 0, 1))
    assert load_report(save_report(made, tmp_path)) == made
