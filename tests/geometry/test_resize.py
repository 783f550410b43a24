"""Sizes in place of spacings."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.artefacts import ChannelNormalization
from medseg.geometry.resize import Resize
from medseg.geometry.volume import Volume
from medseg.preprocessing import Recipe, preprocess


@pytest.mark.parametrize(
    ("resize", "shape", "wanted"),
    [
        (Resize(short_side=20), (40, 60), (20, 30)),
        (Resize(short_side=20), (60, 40), (30, 20)),
        (Resize(short_side=20), (10, 17), (20, 34)),
        (Resize(size=(12, 40)), (40, 60), (12, 40)),
        (Resize(short_side=1), (1, 1), (1, 1)),
    ],
)
def test_every_photograph_gets_its_size(resize, shape, wanted):
    none = (ChannelNormalization(scheme="none"),)
    recipe = Recipe(spacing=(1.0, 1.0), normalization=none, order=1, crop=False, resize=resize)
    photograph = Volume(data=np.ones((1, *shape), np.uint8), affine=np.eye(3))
    done = preprocess(photograph, recipe)
    assert done.image.shape == (1, *wanted)
    assert done.crop_stop == shape  # predictions return to the original size
    assert np.allclose(done.image, 1)
