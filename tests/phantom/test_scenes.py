"""Made-up street scenes: the same from the same seed, in the shares of real ones."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.phantom.scene_parts import CLASSES, VOID
from medseg.phantom.scenes import DRIVE, make_scene


def test_same_seed_and_index_give_the_same_pixels():
    one, two = make_scene(3, 5, shape=(48, 64)), make_scene(3, 5, shape=(48, 64))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    for seed, index in ((4, 5), (3, 6), (3, 5 + DRIVE)):
        assert not np.array_equal(one[0], make_scene(seed, index, shape=(48, 64))[0])


def test_the_pixels_of_a_version_stay():
    image, label = make_scene(0, 1, shape=(24, 32))
    assert image.shape == (3, 24, 32)
    assert image.dtype == label.dtype == np.uint8
    # another value here means: raise VERSION, or made-up data sets change under their name
    assert np.bincount(label.ravel(), minlength=9)[:4].tolist() == [170, 210, 260, 34]


def test_every_class_occurs_and_the_thin_ones_are_rare():
    counts = np.zeros(256)
    for index in range(0, 32, 4):
        label = make_scene(0, index, shape=(60, 80))[1]
        counts += np.bincount(label.ravel(), minlength=256)
    assert set(np.flatnonzero(counts)) <= {*range(len(CLASSES)), VOID}
    share = counts / counts.sum()
    assert all(share[i] > 0 for i in range(len(CLASSES)))
    for name in ("person", "pole", "sign"):
        assert share[CLASSES.index(name)] < 0.03
    assert share[CLASSES.index("road")] > 0.2


def test_up_is_up():
    label = make_scene(1, 0, shape=(60, 80))[1]
    rows = {name: np.flatnonzero((label == CLASSES.index(name)).any(1)) for name in ("sky", "road")}
    assert rows["sky"].max() < 40
    assert rows["road"].min() > 20


@pytest.mark.parametrize("shape", [(1, 1), (7, 40)])
def test_small_pictures_are_made_too(shape):
    image, label = make_scene(0, 0, shape=shape)
    assert image.shape == (3, *shape)
    assert label.shape == shape
