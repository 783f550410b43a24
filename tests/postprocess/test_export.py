from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from medseg.geometry.orientation import axis_codes, to_closest_ras
from medseg.geometry.volume import Grid, Volume
from medseg.io.picture import read_colours
from medseg.labels import Label, LabelScheme
from medseg.postprocess.export import (
    label_colours,
    prediction_name,
    stored_grid,
    write_coloured,
)

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


def test_a_photograph_is_written_in_the_colours_of_its_table(tmp_path):
    labels = (Label(value=4, name="road", color="#804080"), Label(value=9, name="sky"))
    colours = label_colours(LabelScheme(labels=labels), 2)
    assert colours == ("#804080", "#56B4E9")  # the second of the palette
    assert label_colours(LabelScheme(labels=labels), 3) == ()
    indices = np.array([[1, 2], [0, -1]], np.int16)
    pixels = read_colours(write_coloured(tmp_path / "c.png", indices, colours))
    assert pixels[0].tolist() == [[128, 64, 128], [0x56, 0xB4, 0xE9]]
    assert pixels[1].tolist() == [[0, 0, 0], [0, 0, 0]]
