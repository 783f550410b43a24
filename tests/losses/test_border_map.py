from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from medseg.errors import ConfigError
from medseg.losses.border_map import border_weight_map, label_instances

ROW = torch.tensor([1, 1, 0, 0, 0, 2, 2])


def brute_force(instances, w0, sigma, spacing):
    """Every distance transform of the whole image, and a sort."""
    numbers = [n for n in np.unique(instances) if n > 0]
    fields = [distance_transform_edt(instances != n, sampling=spacing) for n in numbers]
    d1, d2 = np.sort(np.stack(fields), axis=0)[:2]
    return w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2)) * (instances <= 0)


def test_worked_row():
    got = border_weight_map(ROW).tolist()
    assert got == pytest.approx([0, 0, *[7.26149037] * 3, 0, 0], abs=1e-6)
    assert got[2] == pytest.approx(10 * math.exp(-16 / 50))


def test_spacing_turns_voxels_into_mm():
    got = border_weight_map(ROW, sigma=5.0, spacing=(2.0,)).tolist()
    assert got[2:5] == pytest.approx([10 * math.exp(-64 / 50)] * 3)
    in_mm = border_weight_map(ROW, sigma=10.0, spacing=(2.0,))
    torch.testing.assert_close(in_mm, border_weight_map(ROW))


@pytest.mark.parametrize(
    ("shape", "spacing", "sigma"),
    [
        ((31,), None, 2.0),
        ((24, 30), None, 1.5),
        ((24, 30), (2.5, 0.7), 2.0),
        ((9, 14, 11), (1.0, 0.8, 3.0), 2.5),
        ((9, 14, 11), None, 5.0),
    ],
)
def test_equals_full_transforms_of_all_instances(shape, spacing, sigma):
    rng = np.random.default_rng(0)
    instances = np.zeros(shape, dtype=np.int64)
    for number in (3, 8, 5, 40, 41, 7):  # boxes anywhere, some touching or covered
        low = [rng.integers(0, n - 2) for n in shape]
        instances[tuple(slice(a, a + int(rng.integers(1, 4))) for a in low)] = number
    got = border_weight_map(torch.from_numpy(instances), w0=7.0, sigma=sigma, spacing=spacing)
    expected = brute_force(instances, 7.0, sigma, spacing)
    assert expected.max() > 0.1
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_fine_voxels_are_searched_as_far_in_mm():
    row = torch.zeros(40, dtype=torch.long)
    row[0], row[39] = 1, 2
    got = border_weight_map(row, sigma=2.0, spacing=(0.25,))[1:39].tolist()
    assert got == pytest.approx([10 * math.exp(-((39 / 4) ** 2) / 8)] * 38, rel=1e-4)


def test_fewer_than_two_instances_have_no_border():
    for row in ([0, 0, 0, 0], [1, 1, 0, 0], [2, 2, 2, 2]):
        assert border_weight_map(torch.tensor(row)).tolist() == [0, 0, 0, 0]


def test_instances_themselves_and_touching_ones_have_no_border():
    assert border_weight_map(torch.tensor([1, 1, 2, 2])).tolist() == [0, 0, 0, 0]
    assert (border_weight_map(ROW)[ROW > 0] == 0).all()


def test_the_second_nearest_counts_even_if_the_nearest_is_listed_last():
    row = torch.tensor([1, 0, 0, 0, 0, 2, 0, 3])
    d1, d2 = [1, 2, 2, 1, None, 1], [4, 3, 3, 3, None, 1]
    for x in (1, 2, 3, 4, 6):
        i = x - 1
        got = border_weight_map(row)[x].item()
        assert got == pytest.approx(10 * math.exp(-((d1[i] + d2[i]) ** 2) / 50)), x


def test_no_weight_left_is_a_map_of_zeros():
    assert border_weight_map(ROW, w0=0.0).tolist() == [0] * 7


def test_spacing_must_fit_the_image():
    with pytest.raises(ConfigError, match="one size in mm per axis"):
        border_weight_map(ROW, spacing=(1.0, 1.0))


def test_components_are_per_class_and_touch_over_corners():
    label = torch.tensor([[1, 0, 0, 2], [0, 1, 2, 0], [-1, 0, 0, 1]], dtype=torch.int16)
    got = label_instances(label)
    assert (got > 0).tolist() == (label > 0).tolist()
    assert got[0, 0] == got[1, 1]
    assert got[0, 3] == got[1, 2]
    assert len({int(n) for n in (got[0, 0], got[0, 3], got[2, 3])}) == 3


@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 3, 2)])
def test_components_of_empty_and_full_masks(shape):
    assert label_instances(torch.zeros(shape, dtype=torch.bool)).max() == 0
    assert label_instances(torch.ones(shape, dtype=torch.bool)).unique().tolist() == [1]
