from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from medseg.geometry.orientation import axis_codes, to_closest_ras
from medseg.geometry.volume import Grid, Volume
from medseg.postprocess.export import prediction_name, stored_grid

CODES = [
    "".join(codes)
    for order in itertools.permutations(["RL", "AP", "SI"])
    for codes in itertools.product(*order)
]


@pytest.mark.parametrize("oblique", [False, True])
def test_stored_grid_undoes_the_turn_to_canonical_axes(oblique):
    base = np.diag([0.7, 1.1, 3.0, 1.0])
    if oblique:
        angle = np.deg2rad(15)
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        base = turn @ base
    base[:3, 3] = (10.0, -20.0, 5.0)
    for codes in CODES:
        ornt = nib.orientations.axcodes2ornt(codes)
        turned = nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), base).as_reoriented(
            nib.orientations.ornt_transform(nib.orientations.io_orientation(base), ornt)
        )
        volume = Volume(data=turned.get_fdata()[np.newaxis], affine=turned.affine)
        assert axis_codes(volume.affine) == codes
        found = stored_grid(to_closest_ras(volume).grid, codes)
        assert found.shape == volume.grid.shape
        np.testing.assert_allclose(found.matrix, turned.affine, atol=1e-12)


def test_a_photograph_has_one_grid():
    grid = Grid.of((3, 4), np.eye(3))
    assert stored_grid(grid, "") == grid


def test_names():
    assert prediction_name("a", 3) == "a.nii.gz"
    assert prediction_name("a", 2) == "a.png"
