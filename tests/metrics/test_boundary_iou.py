import math

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from medseg.metrics.boundary_iou import boundary_iou, boundary_iou_mm, default_width
from tests.metrics.test_surface import random_masks, shapes_2d, shapes_3d


def test_the_shape_worked_in_the_reference():
    pred, label = shapes_2d()
    assert boundary_iou(pred, label, 1) == pytest.approx(10 / 33)
    assert boundary_iou(pred, label, 2) == pytest.approx(22 / 47)


def test_the_default_width_is_2_percent_of_the_diagonal():
    assert default_width((300, 400)) == 10
    assert default_width((12, 12)) == 1
    pred, label = shapes_2d()
    assert boundary_iou(pred, label) == boundary_iou(pred, label, 1)
    wide_pred, wide_label = (np.pad(m, ((0, 60), (0, 60))) for m in (pred, label))
    assert default_width(wide_pred.shape) == 2
    assert boundary_iou(wide_pred, wide_label) == boundary_iou(pred, label, 2)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("width", [1, 2])
def test_agrees_with_repeated_erosion(ndim, width):
    full = np.ones((3,) * ndim, dtype=bool)
    for pred, label, _ in random_masks(ndim, 30):
        bands = [m & ~ndimage.binary_erosion(m, full, iterations=width) for m in (pred, label)]
        expected = (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()
        assert boundary_iou(pred, label, width) == pytest.approx(expected)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_band_in_mm_agrees_with_all_pairs(ndim):
    for pred, label, spacing in random_masks(ndim, 30):
        width, bands = 1.2 * min(spacing), []
        for mask in (pred, label):
            padded = np.pad(mask, 1)
            inside, outside = np.argwhere(padded) * spacing, np.argwhere(~padded) * spacing
            band = np.zeros_like(padded)
            band[padded] = cdist(inside, outside).min(axis=1) <= width
            bands.append(band)
        expected = (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()
        assert boundary_iou_mm(pred, label, spacing, width) == pytest.approx(expected)


def test_a_width_equal_to_the_spacing_counts():
    mask = np.ones((5, 1), dtype=bool)
    mask = np.pad(mask, 4)
    thick = np.pad(np.ones((5, 5), dtype=bool), ((4, 4), (2, 2)))
    assert boundary_iou_mm(thick, thick, (1.3, 1.3), 1.3) == 1.0
    assert boundary_iou_mm(mask, thick, (1.3, 1.3), 1.3) == pytest.approx(2 / 19)


@pytest.mark.parametrize("shapes", [shapes_2d, shapes_3d])
def test_transposing_swapping_and_fortran_order_change_nothing(shapes):
    pred, label = shapes()
    spacing = (3.0, 1.0, 0.7)[: pred.ndim]
    values = boundary_iou(pred, label, 1), boundary_iou_mm(pred, label, spacing, 2.0)
    assert 0 < values[0] < 1
    assert 0 < values[1] < 1
    variants = [
        (pred.T, label.T, spacing[::-1]),
        (label, pred, spacing),
        (np.asfortranarray(pred), np.asfortranarray(label), spacing),
    ]
    for one, other, steps in variants:
        assert boundary_iou(one, other, 1) == values[0]
        assert boundary_iou_mm(one, other, steps, 2.0) == values[1]


def test_empty_masks():
    full = np.ones((4, 5), dtype=bool)
    for measure in (boundary_iou, lambda p, g: boundary_iou_mm(p, g, (1.0, 1.0), 1.0)):
        assert measure(full, ~full) == 0.0
        assert measure(~full, full) == 0.0
        assert math.isnan(measure(~full, ~full))


def test_senseless_widths_and_shapes_are_refused():
    mask = np.ones((4, 5), dtype=bool)
    with pytest.raises(ValueError, match="at least 1"):
        boundary_iou(mask, mask, 0)
    with pytest.raises(ValueError, match="positive"):
        boundary_iou_mm(mask, mask, (1.0, 1.0), 0.0)
    with pytest.raises(ValueError, match="must be equal"):
        boundary_iou(mask, mask.T)
