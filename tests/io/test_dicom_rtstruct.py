from __future__ import annotations

import logging

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from medseg.dicom_out import Wanted, write_dicom
from medseg.errors import CaseError
from medseg.geometry.volume import Volume
from medseg.phantom.dicom_files import write_dicom_series
from tests.dicom_out.series import ALGORITHM, SCHEME, make_series
from tests.io.dicom_objects import write_rtstruct
from tests.io.test_dicom_seg import ONE, TWO, stored_label

SPACING = (0.5, 0.8, 3.0)


@pytest.fixture
def series(tmp_path):
    """Five axial slices of 60 x 40 voxels; the first voxel stands at LPS (10, 20, 30)."""
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1])
    affine[:3, 3] = (-10, -20, 30)
    data = np.zeros((1, 60, 40, 5), np.int16)
    write_dicom_series(tmp_path / "ct", Volume(data=data, affine=affine), patient="A")
    return tmp_path / "ct"


def points(index, k):
    """Turn in-plane indices (column, row) on slice ``k`` to LPS mm."""
    index = np.asarray(index, float)
    full = np.column_stack([index, np.full(len(index), float(k))])
    return full * SPACING + (10, 20, 30)


def box(first, last):
    """Outline the voxels from ``first`` to ``last``, both included."""
    (x0, y0), (x1, y1) = np.subtract(first, 0.5), np.add(last, 0.5)
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def test_box_holds_its_voxel_centres_on_its_slice_alone(series, tmp_path):
    contour = points(box((3, 5), (7, 6)), 2)
    path = write_rtstruct(tmp_path / "r.dcm", [(1, "Liver", [contour])])
    expected = np.zeros((60, 40, 5), int)
    expected[3:8, 5:7, 2] = 1
    np.testing.assert_array_equal(stored_label(series, path), expected)


def test_disc_is_what_the_formula_says(series, tmp_path):
    centre, radius = np.array([14.2, 15.3]), 9.7  # mm from the first voxel
    turn = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    circle = centre + radius * np.column_stack([np.cos(turn), np.sin(turn)])
    path = write_rtstruct(tmp_path / "r.dcm", [(1, "liver", [points(circle / SPACING[:2], 1)])])
    found = stored_label(series, path)[:, :, 1]
    x, y = np.meshgrid(np.arange(60) * SPACING[0], np.arange(40) * SPACING[1], indexing="ij")
    inside = np.hypot(x - centre[0], y - centre[1]) <= radius
    assert (found != inside).sum() <= 2  # centres within 0.001 mm of the circle
    assert found.sum() * SPACING[0] * SPACING[1] == pytest.approx(np.pi * radius**2, rel=0.01)


def test_inner_contours_and_keyholes_are_holes(series, tmp_path):
    outer, inner = box((2, 2), (12, 10)), box((5, 4), (8, 7))
    keyhole = [*outer, outer[0], *inner, inner[0]]
    path = write_rtstruct(
        tmp_path / "r.dcm",
        [
            (1, "liver", [points(outer, 0), points(inner, 0)]),
            (2, "tumour", [points(keyhole, 3)]),
        ],
    )
    found = stored_label(series, path, TWO)
    expected = np.zeros((60, 40), int)
    expected[2:13, 2:11] = 1
    expected[5:9, 4:8] = 0
    np.testing.assert_array_equal(found[:, :, 0], expected)
    np.testing.assert_array_equal(found[:, :, 3], 2 * expected)


def test_a_contour_given_twice_is_no_hole(series, tmp_path):
    contour = points(box((3, 5), (7, 6)), 2)
    path = write_rtstruct(tmp_path / "r.dcm", [(1, "liver", [contour, contour])])
    assert stored_label(series, path).sum() == 10


def test_our_own_contours_come_back_voxel_by_voxel(tmp_path):
    written = make_series(tmp_path / "ct")  # oblique, a tumour inside the liver
    (path,) = write_dicom(tmp_path, "c", written.findings, ALGORITHM, Wanted(rtstruct=True))
    np.testing.assert_array_equal(stored_label(tmp_path / "ct", path, SCHEME), written.stored)


def test_random_masks_come_back_from_our_contours(tmp_path):
    """Holes in holes, single voxels, corners that touch: the contours keep every centre."""
    noise = np.random.default_rng(0).random((14, 12, 3)) > 0.45
    written = make_series(tmp_path / "ct", noise.astype(np.int16))
    (path,) = write_dicom(tmp_path, "c", written.findings, ALGORITHM, Wanted(rtstruct=True))
    np.testing.assert_array_equal(stored_label(tmp_path / "ct", path, SCHEME), written.stored)


def test_small_offsets_are_rounded_and_large_ones_refused(series, tmp_path):
    contour = points(box((3, 5), (7, 6)), 2)
    near = write_rtstruct(tmp_path / "n.dcm", [(1, "liver", [np.add(contour, (0, 0, 0.7))])])
    assert stored_label(series, near)[:, :, 2].sum() == 10
    far = write_rtstruct(tmp_path / "f.dcm", [(1, "liver", [np.add(contour, (0, 0, 1.2))])])
    with pytest.raises(
        CaseError, match=r"1 'liver', contour 1, around \(12\.5, 24\.4, 37\.2\) mm .* no slice of"
    ):
        stored_label(series, far)
    beyond = write_rtstruct(tmp_path / "b.dcm", [(1, "liver", [np.add(contour, (0, 0, 30))])])
    with pytest.raises(CaseError, match="lies on slice 12, the image has slices 0 to 4"):
        stored_label(series, beyond)


def test_names_are_matched_with_help(series, tmp_path):
    contour = points(box((3, 5), (7, 6)), 2)
    path = write_rtstruct(tmp_path / "r.dcm", [(4, "Lliver", [contour]), (5, "Body", [contour])])
    with pytest.raises(CaseError, match=r"4 'Lliver', 5 'Body'.*did you mean 'liver'\?"):
        stored_label(series, path)
    assert stored_label(series, path, structures={"liver": ("lliver",)}).sum() == 10


def test_points_enclose_nothing(series, tmp_path):
    path = write_rtstruct(tmp_path / "r.dcm", [(1, "liver", [points([(3, 3)], 1)]), (2, "x", [])])
    made = pydicom.dcmread(path)
    made.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = "POINT"
    made.save_as(path)
    with pytest.raises(CaseError, match="contour 1 is of type POINT, which encloses no area"):
        stored_label(series, path, structures={"liver": ("liver",)})
    assert stored_label(series, path, structures={"liver": ("x",)}).sum() == 0


def test_skipped_slices_are_warned_of(series, tmp_path, caplog):
    drawn = [points(box((3, 5), (7, 6)), k) for k in (0, 1, 4)]
    path = write_rtstruct(tmp_path / "r.dcm", [(1, "liver", drawn)])
    with caplog.at_level(logging.WARNING):
        found = stored_label(series, path)
    assert "no contour on 2 slices" in caplog.text
    assert found.sum(axis=(0, 1)).tolist() == [10, 10, 0, 0, 10]


def test_structures_of_another_scan_are_refused(series, tmp_path):
    contour = points(box((3, 5), (7, 6)), 2)
    path = write_rtstruct(tmp_path / "a.dcm", [(1, "liver", [contour])], frame=generate_uid())
    with pytest.raises(CaseError, match="another frame of reference"):
        stored_label(series, path)
    path = write_rtstruct(tmp_path / "b.dcm", [(1, "liver", [contour])], refer=[generate_uid()])
    with pytest.raises(CaseError, match="refers to 1 slices, none of which is in the image"):
        stored_label(series, path)
    assert stored_label(series, path, placed_by="positions").sum() == 10


def test_damaged_structure_set_is_named(series, tmp_path):
    path = write_rtstruct(tmp_path / "r.dcm", [(1, "liver", [points(box((3, 5), (7, 6)), 2)])])
    made = pydicom.dcmread(path)
    del made.ROIContourSequence[0].ContourSequence[0].ContourData[-1]
    made.save_as(path)
    with pytest.raises(CaseError, match=r"r\.dcm: not a complete RT Structure Set.*11 coordinates"):
        stored_label(series, path, ONE)
