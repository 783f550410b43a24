import math

import numpy as np
import pytest

from medseg.geometry.volume import Grid
from medseg.metrics.volume import (
    absolute_relative_volume_error,
    absolute_volume_error,
    relative_volume_error,
    volume_error,
    volume_similarity,
    voxel_size,
)


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


def test_volume_similarity_worked_in_the_reference():
    assert volume_similarity(43, 36) == pytest.approx(0.9113924051, abs=1e-10)
    assert volume_similarity(36, 43) == volume_similarity(43, 36)


def test_volume_similarity_follows_from_simpleitks_signed_one():
    sitk = pytest.importorskip("SimpleITK")
    label, pred = np.zeros((2, 12, 12), dtype=np.uint8)
    label[2:8, 3:9] = 1
    pred[2:8, 4:11] = 1
    pred[10, 1] = 1
    peer = sitk.LabelOverlapMeasuresImageFilter()
    peer.Execute(sitk.GetImageFromArray(label), sitk.GetImageFromArray(pred))
    signed = peer.GetVolumeSimilarity()
    assert signed == pytest.approx(-0.1772151899, abs=1e-10)
    assert volume_similarity(43, 36) == pytest.approx(1 - abs(signed) / 2, abs=1e-12)


def test_differences_by_hand():
    assert volume_error(30, 36) == -6
    assert absolute_volume_error(30, 36) == absolute_volume_error(42, 36) == 6
    assert absolute_relative_volume_error(27, 36) == pytest.approx(0.25)
    assert absolute_relative_volume_error(45, 36) == pytest.approx(0.25)


def test_empty_volumes():
    assert volume_similarity(0, 5) == volume_similarity(5, 0) == 0
    assert math.isnan(volume_similarity(0, 0))
    assert math.isnan(absolute_relative_volume_error(3, 0))
    assert absolute_relative_volume_error(0, 3) == 1
