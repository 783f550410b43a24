import numpy as np
import pydicom
from skimage.measure import points_in_poly

from medseg.dicom_out import Wanted, write_dicom
from tests.dicom_out.series import ALGORITHM, make_series, stored_indices


def filled(dataset, source, number):
    """Fill one ROI's contours on the grid of the slices that they name."""
    place = {header.SOPInstanceUID: k for k, header in enumerate(source.headers)}
    shape = source.grid.shape
    to_index = np.linalg.inv(source.grid.matrix)
    centres = np.argwhere(np.ones(shape[:2], bool))
    mask = np.zeros(shape, bool)
    for contour in dataset.ROIContourSequence[number - 1].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3) * [-1, -1, 1]
        index = points @ to_index[:3, :3].T + to_index[:3, 3]
        k = place[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        np.testing.assert_allclose(index[:, 2], k, atol=1e-3)
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        mask[:, :, k] ^= points_in_poly(centres, index[:, :2]).reshape(shape[:2])
    return mask


def test_filled_contours_are_the_segments(tmp_path):
    """The liver has a hole where the tumour is."""
    made = make_series(tmp_path / "ct")
    wanted = Wanted(rtstruct=True)
    (path,) = write_dicom(tmp_path, "case", made.findings, ALGORITHM, wanted)
    dataset = pydicom.dcmread(path)
    assert [roi.ROIName for roi in dataset.StructureSetROISequence] == [
        "liver",
        "liver tumour",
        "kidney_left",
    ]
    for number in (1, 2, 3):
        mask = filled(dataset, made.findings.source, number)
        assert np.array_equal(mask, made.stored == number)
    first = made.findings.source.first
    assert dataset.StudyInstanceUID == first.StudyInstanceUID
    (frame,) = dataset.ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == first.FrameOfReferenceUID
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert len(series.ContourImageSequence) == 7
    assert list(dataset.ROIContourSequence[0].ROIDisplayColor) == [255, 0, 0]


def test_nothing_found_gives_no_structure_set(tmp_path):
    made = make_series(tmp_path / "ct", np.zeros_like(stored_indices()))
    assert write_dicom(tmp_path, "case", made.findings, ALGORITHM, Wanted(rtstruct=True)) == ()
