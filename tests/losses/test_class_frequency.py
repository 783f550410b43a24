"""Class weights from the training labels, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medseg.errors import ConfigError
from medseg.io.picture import read_mask
from medseg.labels import IGNORE_INDEX
from medseg.losses import build_loss
from medseg.losses.class_frequency import class_counts, class_weights, with_class_weights

# two images of ten pixels; class 3 is in the second alone, class 0 in neither
IMAGES = [
    np.array([1] * 8 + [2] * 2, np.int16),
    np.array([1] * 4 + [3] * 4 + [-1] * 2, np.int16),
]


def test_counts_leave_ignored_pixels_out():
    pixels, within = class_counts(IMAGES, 4)
    assert pixels.tolist() == [0, 12, 2, 4]
    assert within.tolist() == [0, 18, 10, 8]


def test_median_frequency_by_hand():
    weights = class_weights(*class_counts(IMAGES, 4), "median_frequency")
    # frequencies 12/18, 2/10, 4/8; their median 0.5
    assert weights == pytest.approx([0, 0.75, 2.5, 1.0])


def test_inverse_by_hand():
    weights = class_weights(*class_counts(IMAGES, 4), "inverse")
    assert weights == pytest.approx([0, 18 / 36, 18 / 6, 18 / 12])


def test_enet_by_hand():
    weights = class_weights(*class_counts(IMAGES, 4), "enet")
    assert weights[0] == 0
    assert weights[1:] == pytest.approx([1 / math.log(1.02 + n / 18) for n in (12, 2, 4)])


def test_equal_classes_weigh_the_same():
    pixels = within = np.array([5, 5, 5])
    for rule in ("inverse", "median_frequency", "enet"):
        assert len(set(class_weights(pixels, within, rule))) == 1
    assert class_weights(pixels, within, "inverse") == [1.0, 1.0, 1.0]


def test_no_pixel_at_all_weighs_nothing():
    for rule in ("inverse", "median_frequency", "enet"):
        assert class_weights(np.zeros(3, int), np.zeros(3, int), rule) == [0.0, 0.0, 0.0]


def test_rules_are_replaced_in_every_term():
    loss = [
        {"name": "cross_entropy", "class_weights": "enet", "weight": 0.5},
        {"name": "dice"},
        {"name": "cross_entropy", "as": "other", "class_weights": [1.0, 2.0]},
    ]
    done = with_class_weights(loss, lambda rule: [1.0, 3.0] if rule == "enet" else None)
    assert [term.get("class_weights") for term in done] == [[1.0, 3.0], None, [1.0, 2.0]]
    assert build_loss(done, "softmax") is not None
    alone = {"name": "cross_entropy", "class_weights": "enet"}
    left_out = with_class_weights(alone, lambda _: None)
    assert left_out == {"name": "cross_entropy"}


def test_a_mistyped_rule_gets_the_nearest():
    wrong = {"name": "cross_entropy", "class_weights": "median_freq"}
    with pytest.raises(ConfigError, match="did you mean 'median_frequency'"):
        with_class_weights(wrong, lambda _: None)


@pytest.mark.data
def test_camvids_weights_are_those_that_segnet_published(data_root):
    """SegNet-Tutorial's prototxt has 0.2595, 0.1826, ...; its sign (9.64) counts other pixels."""
    published = [
        0.2595,
        0.1826,
        4.564,
        0.1417,
        0.9051,
        0.3826,
        9.6446,
        1.8418,
        0.6823,
        6.2478,
        7.3614,
    ]
    files = sorted((data_root / "camvid" / "trainannot").glob("*.png"))
    masks = (read_mask(path).astype(np.int16) for path in files)
    pixels, within = class_counts((np.where(m == 11, IGNORE_INDEX, m) for m in masks), 11)
    shares = 100 * pixels / (len(files) * 360 * 480)  # the table of the data's README
    table = [16.85, 23.26, 0.98, 31.66, 4.49, 9.72, 1.17, 1.13, 5.87, 0.64, 0.29]
    assert shares == pytest.approx(table, abs=0.006)
    weights = class_weights(pixels, within, "median_frequency")
    others = [i for i in range(11) if i != 6]
    assert [weights[i] for i in others] == pytest.approx([published[i] for i in others], rel=0.2)
