from __future__ import annotations

import pytest

from medseg.planning.spacing import coarse_axis, median_shape, target_spacing


def test_the_median_of_each_axis():
    spacings = [(0.7, 0.7, 1.0), (0.8, 0.8, 2.0), (0.9, 0.9, 3.0)]
    assert target_spacing(spacings, [(512, 512, 100)] * 3) == pytest.approx((0.8, 0.8, 2.0))


def test_a_thin_coarse_axis_takes_its_10th_percentile():
    spacings = [(0.5, 0.5, z) for z in (2.0, 4.0, 4.0, 4.0, 5.0)]
    shapes = [(300, 300, 20)] * 5
    # linear percentile of (2, 4, 4, 4, 5) at 10 %: rank 0.4 -> 2 + 0.4 * 2
    assert target_spacing(spacings, shapes) == pytest.approx((0.5, 0.5, 2.8))


def test_a_coarse_axis_with_many_slices_keeps_the_median():
    spacings = [(0.5, 0.5, z) for z in (2.0, 4.0, 4.0, 4.0, 5.0)]
    assert target_spacing(spacings, [(300, 300, 150)] * 5)[2] == 4.0


def test_the_coarse_axis_never_becomes_finer_than_the_others():
    spacings = [(1.0, 1.0, z) for z in (0.2, 0.2, 5.0, 5.0, 5.0)]
    assert target_spacing(spacings, [(300, 300, 20)] * 5)[2] == pytest.approx(1.00001)


def test_two_dimensions():
    assert target_spacing([(1.0, 1.0)], [(480, 360)]) == (1.0, 1.0)


def test_median_shape_follows_the_field_of_view():
    shapes = [(100, 100, 10), (50, 50, 20), (100, 100, 40)]
    spacings = [(1.0, 1.0, 4.0), (2.0, 2.0, 2.0), (1.0, 1.0, 1.0)]
    assert median_shape(spacings, shapes, (2.0, 2.0, 2.0)) == (50, 50, 20)


def test_the_coarse_axis_is_asked_of_the_source_then_of_the_target():
    assert coarse_axis((0.5, 0.5, 5.0)) == 2
    assert coarse_axis((1.0, 1.0, 1.0), (4.0, 1.0, 1.0)) == 0
    assert coarse_axis((5.0, 0.5, 0.5), (1.0, 1.0, 1.0)) == 0


def test_three_times_is_not_yet_coarse():
    assert coarse_axis((1.0, 1.0, 3.0)) is None


def test_two_coarse_axes_are_none():
    assert coarse_axis((0.5, 4.0, 4.0)) is None
    assert coarse_axis((1.0, 4.0)) is None  # a picture has no slices
