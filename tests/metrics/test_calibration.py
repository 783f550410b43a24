import math

import numpy as np
import pytest

from medseg.metrics.calibration import calibrate_class, calibrate_top, reliability

P = np.array([0.95, 0.85, 0.75, 0.65, 0.55, 0.45, 0.35, 0.25, 0.15, 0.05])
Y = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 0], dtype=bool)
TWO = np.stack([1 - P, P])


@pytest.mark.parametrize(("bins", "ece"), [(5, 0.12), (10, 0.31)])
def test_the_class_error_worked_in_the_reference(bins, ece):
    found = calibrate_class(P, Y, region="all", bins=bins)  # torchmetrics: .12 and .31
    assert found.ece == pytest.approx(ece, abs=1e-12)
    assert found.brier == pytest.approx(0.1425, abs=1e-12)
    assert (found.kind, found.region, found.bins, found.n) == ("fg", "all", bins, 10)


@pytest.mark.parametrize(("bins", "ece"), [(5, 0.21), (10, 0.31)])
def test_the_top_error_worked_in_the_reference(bins, ece):
    found = calibrate_top(TWO, Y.astype(np.int16), region="all", bins=bins)
    assert found.ece == pytest.approx(ece, abs=1e-12)
    assert found.brier == pytest.approx(2 * 0.1425, abs=1e-12)  # both classes
    assert found.kind == "top"


@pytest.mark.parametrize("shape", [(400,), (12, 9), (6, 7, 5)])
def test_errors_agree_with_monai(shape):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    rng = np.random.default_rng(0)
    probs = rng.random(shape)
    label = rng.random(shape) < probs**2
    ours = calibrate_class(probs, label, region="all", bins=5)
    given = (torch.from_numpy(probs)[None, None], torch.from_numpy(label.astype(float))[None, None])
    for name, value in (("expected", ours.ece), ("average", ours.ace), ("maximum", ours.mce)):
        peer = metrics.CalibrationErrorMetric(num_bins=5, calibration_reduction=name)
        peer(*given)
        assert value == pytest.approx(peer.aggregate().item(), abs=1e-6), name


def test_average_and_maximum_by_hand():
    found = calibrate_class(P, Y, region="all", bins=2)
    # right half: confidence .75, accuracy .8; left half: .25 and .2
    assert (found.ece, found.ace, found.mce) == pytest.approx((0.05, 0.05, 0.05))
    uneven = calibrate_class(
        np.array([0.9, 0.9, 0.9, 0.1]), np.array([1, 1, 1, 1], bool), region="all", bins=2
    )
    assert uneven.ece == pytest.approx((3 * 0.1 + 0.9) / 4)
    assert uneven.ace == pytest.approx((0.1 + 0.9) / 2)
    assert uneven.mce == pytest.approx(0.9)


def test_edges_belong_to_the_bin_on_their_right_and_one_to_the_last():
    diagram = reliability(np.array([0.0, 0.2, 0.6, 0.8, 1.0]), np.ones(5, bool), bins=5)
    assert diagram.counts.tolist() == [1, 1, 1, 2]  # the third of five is empty
    assert diagram.confidence.tolist() == [0.0, 0.2, 0.6, 0.9]


def test_bins_of_equal_mass_hold_equal_numbers():
    diagram = reliability(P**4, Y, bins=5, binning="mass")
    assert diagram.counts.tolist() == [2] * 5
    assert diagram.accuracy.tolist() == [0, 0.5, 0.5, 0.5, 1]
    found = calibrate_class(P, Y, region="all", bins=5, binning="mass")
    assert found.ece == pytest.approx(0.12)  # evenly spread: the same bins
    assert found.binning == "mass"


@pytest.mark.parametrize("shape", [(20, 20), (20, 20, 20)])
def test_easy_background_hides_the_error_unless_the_region_is_narrow(shape):
    label = np.zeros(shape, dtype=bool)
    label[(slice(8, 11),) * len(shape)] = True
    probs = np.where(label, 0.7, 0.0)
    scores = {r: calibrate_class(probs, label, region=r, margin=2) for r in ("all", "box", "union")}
    assert scores["union"].n == 3 ** len(shape)
    assert scores["box"].n == 7 ** len(shape)
    assert scores["all"].n == 20 ** len(shape)
    assert scores["union"].ece == pytest.approx(0.3)
    assert scores["all"].ece < scores["box"].ece < scores["union"].ece
    assert scores["box"].region == "box"


def test_the_region_covers_the_prediction_too():
    probs = np.array([0.9, 0.0, 0.0, 0.0])
    label = np.array([False, False, True, False])
    assert calibrate_class(probs, label, region="union").n == 2
    assert calibrate_class(probs, label, region="box", margin=0).n == 3


def test_ignored_voxels_do_not_count():
    label = np.array([1, 0, -1, 0], dtype=np.int16)
    probs = np.array([[0.1, 0.8, 0.0, 1.0], [0.9, 0.2, 1.0, 0.0]])
    assert calibrate_top(probs, label, region="all").n == 3
    valid = label != -1
    assert calibrate_class(probs[1], label == 1, region="all", valid=valid).n == 3


def test_an_empty_region_is_not_defined():
    found = calibrate_class(np.zeros((4, 4)), np.zeros((4, 4), dtype=bool))
    assert found.n == 0
    for value in (found.ece, found.mce, found.ace, found.brier):
        assert math.isnan(value)


def test_logits_and_other_shapes_are_refused():
    with pytest.raises(ValueError, match="not logits"):
        calibrate_class(np.array([3.0, -1.0]), np.array([True, False]))
    with pytest.raises(ValueError, match="not logits"):
        calibrate_class(np.array([np.nan, 0.5]), np.array([True, False]))
    with pytest.raises(ValueError, match="cover"):
        calibrate_class(np.zeros(3), np.zeros(2, dtype=bool))
