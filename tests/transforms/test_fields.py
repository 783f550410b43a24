from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from medseg.transforms.fields import lattice_size, spline_field


def test_the_lattice_covers_the_patch():
    assert lattice_size((1,), (4.0,)) == (4,)
    assert lattice_size((12, 8), (4.0, 4.0)) == (6, 5)


@pytest.mark.parametrize(("size", "lattice"), [((9, 7), (5, 4)), ((6, 5, 7), (4, 5, 6))])
def test_equal_control_values_give_a_constant_and_no_field_exceeds_them(size, lattice):
    flat = spline_field(torch.full((2, *lattice), 3.0), size)
    torch.testing.assert_close(flat, torch.full((2, *size), 3.0))
    control = torch.rand(1, *lattice, generator=torch.Generator().manual_seed(0)) * 2 - 1
    field = spline_field(control, size)
    assert field.shape == (1, *size)
    assert field.abs().max() <= control.abs().max()


def test_along_one_axis_it_is_the_b_spline_of_scipy():
    control = torch.tensor([0.0, 1.0, -2.0, 0.5, 3.0, 1.0], dtype=torch.float64)
    n, cells = 12, 3  # 6 control points: 3 cells of 4 voxels
    spline = BSpline(np.arange(-3, cells + 4), control.numpy(), 3)
    expected = spline((np.arange(n) + 0.5) / n * cells)
    np.testing.assert_allclose(spline_field(control, (n,)).numpy(), expected, atol=1e-12)
