import math

import numpy as np
import pytest

from medseg.reporting.standing import standings
from tests.reporting.examples import label_map, report


def cohort(folder, cut):
    """Make one case per entry of ``cut``: so many voxels of the liver are missing."""
    label = label_map()
    made = []
    for i, n in enumerate(cut):
        pred = label.copy()
        pred.reshape(-1)[np.flatnonzero(label == 1)[:n]] = 0
        made.append(report(folder, f"c{i}", pred, label))
    return made


def of(rows, structure, metric):
    return next(r for r in rows if (r.structure, r.metric) == (structure, metric))


def test_the_percentile_counts_worse_cases_and_half_the_ties(tmp_path):
    cases = cohort(tmp_path, [4, 0, 2, 4, 6, 8])
    dice = of(standings(cases[0], cases), "liver", "dice")
    assert dice.cases == 5
    assert dice.better_than == pytest.approx(100 * (2 + 0.5) / 5)  # 6 and 8 worse, one tie
    error = of(standings(cases[0], cases), "liver", "relative_volume_error")
    assert error.value == pytest.approx(4 / 95)
    assert error.better_than == pytest.approx(50.0)


def test_with_few_others_nothing_is_said(tmp_path):
    cases = cohort(tmp_path, [0, 1, 2])
    row = of(standings(cases[0], cases), "liver", "dice")
    assert (row.cases, row.better_than) == (2, None)
    assert row.median in {s.dice for c in cases[1:] for s in c.scores}


def test_alone_there_is_no_median(tmp_path):
    (case,) = cohort(tmp_path, [1])
    assert math.isnan(of(standings(case, [case]), "liver", "dice").median)


def test_an_infinite_distance_is_the_worst(tmp_path):
    label = label_map()
    missed = np.where(label == 2, 1, label).astype(np.int16)
    cases = [*cohort(tmp_path, [0] * 5), report(tmp_path, "m", missed, label)]
    assert of(standings(cases[-1], cases), "tumour", "hd95_mm").better_than == 0.0


def test_without_reference_there_is_no_standing(tmp_path):
    assert standings(report(tmp_path, "n", label_map(), None, role="predict"), []) == ()
