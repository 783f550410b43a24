from __future__ import annotations

import numpy as np
import pytest

from medseg.geometry.volume import Volume
from medseg.io.dicom_grid import AROUND, shared_grid
from medseg.io.dicom_labels import grid_of_objects, read_objects_as_mask
from medseg.io.dicom_seg import read_seg
from medseg.io.volumes import read_volume
from medseg.phantom.dicom_files import write_dicom_series
from tests.dicom_out.series import oblique_affine
from tests.io.dicom_objects import slices_of, write_seg


@pytest.fixture
def scan(tmp_path):
    data = np.zeros((1, 7, 5, 9), np.int16)
    write_dicom_series(tmp_path / "ct", Volume(data=data, affine=oblique_affine()), patient="A")
    return tmp_path / "ct"


def seg_on(scan, name, slices, change=None):
    """Write a SEG whose only segment fills the given slices but for the first pixel."""
    full = np.ones((5, 7), bool)
    full[0, 0] = False
    frames = [(1, k, full) for k in slices]
    return write_seg(scan.parent / name, slices_of(scan), frames, [(1, "a", "1")], change=change)


@pytest.mark.parametrize(("one", "other"), [((1, 2), (6,)), ((7, 1), (2, 3)), ((5,), (5, 4))])
def test_frames_of_both_stand_on_the_grid_where_they_stand_in_the_scan(scan, one, other):
    paths = [seg_on(scan, f"{k}.dcm", slices) for k, slices in enumerate((one, other))]
    grid = grid_of_objects(*paths)
    image = read_volume(scan)
    low, high = min(one + other), max(one + other)
    assert grid.shape == (7, 5, high - low + 1 + 2 * AROUND)
    start = image.affine @ [0, 0, low - AROUND, 1]
    np.testing.assert_allclose(grid.matrix[:3, :3], image.affine[:3, :3], atol=1e-4)
    np.testing.assert_allclose(grid.matrix[:, 3], start, atol=1e-3)
    for path, slices in zip(paths, (one, other), strict=True):
        mask = read_objects_as_mask(path, grid, None).data[0]
        filled = [k for k in range(grid.shape[2]) if mask[:, :, k].sum() == 7 * 5 - 1]
        assert [k + low - AROUND for k in filled] == sorted(slices)
        assert mask[0, 0].sum() == 0


def test_a_distance_that_the_object_says_counts_where_it_fits(scan):
    spacing = float(np.linalg.norm(oblique_affine()[:3, 2]))

    def say(distance):
        def change(seg):
            measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
            measures.SpacingBetweenSlices = round(distance, 6)

        return change

    fits = seg_on(scan, "f.dcm", (1, 3, 5), change=say(spacing))  # every second slice is empty
    assert shared_grid([read_seg(fits)]).shape[2] == 5 + 2 * AROUND
    wrong = seg_on(scan, "w.dcm", (1, 2, 3), change=say(1.37 * spacing))
    assert shared_grid([read_seg(wrong)]).shape[2] == 3 + 2 * AROUND
