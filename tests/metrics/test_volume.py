import math

import numpy as np
import pytest

from medseg.geometry.volume import Grid
from medseg.metrics.volume import relative_volume_error, voxel_size


def test_a_voxel_of_a_volume_is_measured_in_ml():
    grid = Grid.of((4, 4, 4), np.diag([2.0, 2.5, 4.0, 1.0]))
    assert voxel_size(grid) == pytest.approx(0.02)


def test_a_turned_and_mirrored_grid_has_the_same_voxel():
    angle = 0.3
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    affine = np.eye(4)
    affine[:2, :2] = turn @ np.diag([-2.0, 2.5])
    affine[2, 2] = 4.0
    assert voxel_size(Grid.of((4, 4, 4), affine)) == pytest.approx(0.02)


def test_a_pixel_of_a_photograph_counts_one():
    assert voxel_size(Grid.of((4, 4), np.eye(3))) == 1.0


def test_relative_error_is_signed_and_undefined_without_reference():
    assert relative_volume_error(43, 36) == pytest.approx(7 / 36)
    assert relative_volume_error(27, 36) == pytest.approx(-0.25)
    assert math.isnan(relative_volume_error(3, 0))
