from __future__ import annotations

import numpy as np
import pytest

from medseg.geometry.crop import content_box, crop, crop_grid
from medseg.geometry.volume import Grid, Volume


def test_box_holds_every_channels_content():
    data = np.zeros((2, 5, 6, 7))
    data[0, 1, 2, 3] = -4
    data[1, 3, 2, 5] = 1
    assert content_box(data) == ((1, 2, 3), (4, 3, 6))
    image = np.zeros((1, 5, 6))
    image[0, 4, 0] = np.nan  # not zero, so content
    assert content_box(image) == ((4, 0), (5, 1))


def test_nothing_but_zeros_keeps_the_whole_volume():
    assert content_box(np.zeros((2, 3, 4))) == ((0, 0), (3, 4))
    assert content_box(np.ones((1, 1, 1, 1))) == ((0, 0, 0), (1, 1, 1))


def test_cropped_voxels_keep_their_world_position():
    rng = np.random.default_rng(0)
    affine = np.eye(4)
    affine[:3] = rng.standard_normal((3, 4))
    volume = Volume(data=rng.standard_normal((2, 5, 6, 7)), affine=affine)
    part = crop(volume, (1, 2, 3), (4, 6, 5))
    np.testing.assert_array_equal(part.data, volume.data[:, 1:4, 2:6, 3:5])
    np.testing.assert_allclose(part.affine @ [1, 1, 1, 1], affine @ [2, 3, 4, 1])
    assert part.grid == crop_grid(volume.grid, (1, 2, 3), (4, 6, 5))


def test_box_outside_is_refused():
    grid = Grid.of((4, 5), np.eye(3))
    for start, stop in [((-1, 0), (2, 2)), ((0, 0), (5, 5)), ((2, 2), (2, 4))]:
        with pytest.raises(ValueError, match=r"does not lie in shape \(4, 5\)"):
            crop_grid(grid, start, stop)
