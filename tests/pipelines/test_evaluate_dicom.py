"""`medseg evaluate` with a DICOM SEG or RTSTRUCT on one side."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from pydicom.uid import generate_uid

from medseg.errors import StageError
from medseg.geometry.volume import Volume
from medseg.io.volumes import read_volume, write_nifti
from medseg.phantom.dicom_files import write_dicom_series
from medseg.pipelines.evaluate import evaluate
from medseg.settings import Compute
from tests.dicom_out.series import oblique_affine
from tests.io.dicom_objects import position, slices_of, write_rtstruct, write_seg


@pytest.fixture
def sides(tmp_path):
    """A SEG of two boxes as reference, and a NIfTI that lacks a column of the first one."""
    data = np.zeros((1, 9, 8, 6), np.int16)
    write_dicom_series(tmp_path / "ct", Volume(data=data, affine=oblique_affine()), patient="A")
    label = np.zeros((9, 8, 6), np.int16)
    label[1:5, 1:4, 1:4], label[6:8, 5:7, 2:5] = 1, 2
    frames = [(n, k, n == label[:, :, k].T) for n in (1, 2) for k in range(6)]
    named = [(1, "Liver", "10200004"), (2, "Spleen", "78961009")]
    write_seg(tmp_path / "r/a.dcm", slices_of(tmp_path / "ct"), frames, named)
    pred = label.copy()
    pred[1] = 0
    affine = read_volume(tmp_path / "ct").affine
    (tmp_path / "p").mkdir()
    flipped = Volume(data=pred[np.newaxis, ::-1], affine=affine @ flip_first(len(pred)))
    write_nifti(tmp_path / "p/a.nii.gz", flipped)
    return tmp_path


def flip_first(count):
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = count - 1
    return turn


def dice(out):
    with (out / "metrics.csv").open() as stream:
        return {row["label"]: float(row["dice"]) for row in csv.DictReader(stream)}


EXPECTED = 2 * 27 / (36 + 27)


def test_segments_are_labels_of_the_table_by_name(sides):
    table = sides / "labels.yaml"
    table.write_text("{liver: 1, spleen: 2}")
    compute = Compute(workers=1)
    evaluate(sides / "p", sides / "r", sides / "o", labels=table, compute=compute)
    assert dice(sides / "o") == pytest.approx({"liver": EXPECTED, "spleen": 1.0})
    evaluate(sides / "r", sides / "p", sides / "o", labels=table, compute=compute)  # SEG predicted
    assert dice(sides / "o") == pytest.approx({"liver": EXPECTED, "spleen": 1.0})


def test_without_a_table_the_numbers_of_the_segments_count(sides):
    evaluate(sides / "p", sides / "r", sides / "o", compute=Compute(workers=1))
    assert dice(sides / "o") == pytest.approx({"label 1": EXPECTED, "label 2": 1.0})


def test_seg_of_no_known_name_is_refused(sides):
    table = sides / "labels.yaml"
    table.write_text("{livre: 1}")
    compute = Compute(workers=1)
    with pytest.raises(StageError, match=r"no segment is called or coded.*'Liver'"):
        evaluate(sides / "p", sides / "r", sides / "o", labels=table, compute=compute)
    assert not (sides / "o").exists()


def other_seg(sides, named, *, change=None, lost=1):
    """Write the same boxes as another tool would: other numbers and names, fewer frames."""
    label = np.zeros((9, 8, 6), np.int16)
    label[1:5, 1:4, 1:4], label[6:8, 5:7, 2:5] = 2, 1
    label[:lost] = 0
    frames = [(n, k, n == label[:, :, k].T) for n in (1, 2) for k in range(1, 5)]
    headers = slices_of(sides / "ct")
    return write_seg(sides / "q/a.dcm", headers, frames, named, change=change)


SWAPPED = [(1, "Milz", "78961009"), (2, "LIVER", "1")]


def test_two_segs_are_compared_by_name_and_code_whatever_their_numbers(sides):
    other_seg(sides, SWAPPED, lost=2)
    evaluate(sides / "q", sides / "r", sides / "o", compute=Compute(workers=1))
    assert dice(sides / "o") == pytest.approx({"Liver": EXPECTED, "Spleen": 1.0})
    table = sides / "labels.yaml"
    table.write_text("{organ: {value: 7, snomed: '78961009'}}")  # as the config says it
    evaluate(sides / "q", sides / "r", sides / "o", labels=table, compute=Compute(workers=1))
    assert dice(sides / "o") == pytest.approx({"organ": 1.0})


def test_volumes_of_two_segs_are_those_on_the_scan(sides):
    other_seg(sides, SWAPPED)
    evaluate(sides / "q", sides / "r", sides / "o", compute=Compute(workers=1))
    with (sides / "o/metrics.csv").open() as stream:
        liver = next(csv.DictReader(stream))
    spacing = np.linalg.norm(oblique_affine()[:3, :3], axis=0)
    assert float(liver["volume_ml"]) == pytest.approx(36 * spacing.prod() / 1000, rel=1e-3)


def test_one_segment_on_each_side_needs_no_common_name(sides):
    box = np.zeros((8, 9), bool)
    box[2:5, 3:6] = True
    for folder, name in (("q", "Segment_1"), ("s", "GTV")):
        frames = [(1, k, box) for k in (2, 3)]
        write_seg(sides / folder / "a.dcm", slices_of(sides / "ct"), frames, [(1, name, "")])
    evaluate(sides / "q", sides / "s", sides / "o", compute=Compute(workers=1))
    assert dice(sides / "o") == {"foreground": 1.0}


def square(headers, low, high):
    """Return a contour around pixels low to high - 1 on each slice."""
    contours = []
    for header in headers:
        start = np.array([float(x) for x in header.ImagePositionPatient])
        row, column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        between_rows, between_columns = (float(x) for x in header.PixelSpacing)
        corners = [(a, b) for a, b in ((low, low), (high, low), (high, high), (low, high))]
        contours.append(
            [
                start + row * between_columns * (i - 0.5) + column * between_rows * (j - 0.5)
                for i, j in corners
            ]
        )
    return contours


def test_structure_set_is_compared_with_a_seg_and_not_with_another_one(sides):
    headers = slices_of(sides / "ct")
    frame = str(headers[0].FrameOfReferenceUID)
    box = np.zeros((8, 9), bool)
    box[2:5, 2:5] = True
    write_seg(sides / "q/a.dcm", headers, [(1, k, box) for k in (2, 3)], [(1, "Liver", "1")])
    contours = square(headers[1:4], 2, 5)  # a slice more than the frames of the SEG
    write_rtstruct(sides / "s/a.dcm", [(4, "liver", contours)], frame=frame)
    evaluate(sides / "s", sides / "q", sides / "o", compute=Compute(workers=1))
    assert dice(sides / "o") == pytest.approx({"Liver": 2 * 18 / (18 + 27)})
    with pytest.raises(StageError, match="hold contours, which do not say where the voxels are"):
        evaluate(sides / "s", sides / "s", sides / "o2", compute=Compute(workers=1))
    assert not (sides / "o2").exists()


def elsewhere(seg):
    seg.FrameOfReferenceUID = "1.2.3.4"


def other_series(seg):
    seg.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3.5"
    for one in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence:
        one.ReferencedSOPInstanceUID = generate_uid()


def between(seg):
    for group in seg.PerFrameFunctionalGroupsSequence[1::2]:
        place = group.PlanePositionSequence[0]
        low = position(seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0])
        high = position(place)
        place.ImagePositionPatient = [a + 0.7 * (b - a) for a, b in zip(low, high, strict=True)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (elsewhere, "stand in different frames of reference; pair objects of one scan"),
        (other_series, "refer to different series; pair objects of one scan"),
        (between, "stand at irregular distances"),
    ],
)
def test_segs_that_do_not_belong_together_are_refused(sides, change, message):
    def name_series(seg):
        seg.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"

    other_seg(sides, SWAPPED, change=name_series)
    (sides / "q").rename(sides / "s")
    other_seg(sides, SWAPPED, change=change)
    with pytest.raises(StageError, match=message):
        evaluate(sides / "q", sides / "s", sides / "o", compute=Compute(workers=1))
    assert not (sides / "o").exists()


@pytest.mark.data
def test_real_seg_against_itself_and_its_twin(data_root, tmp_path):
    real = data_root / "dicom_seg/dcmqi"
    for place, target in (("p/a.dcm", "liver.dcm"), ("r/a.dcm", "liver.dcm")):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).symlink_to(real / target)
    evaluate(tmp_path / "p", tmp_path / "r", tmp_path / "o", compute=Compute(workers=1))
    with (tmp_path / "o/metrics.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    twin = read_volume(real / "liver_seg.nrrd")
    expected = (twin.data != 0).sum() * np.prod(twin.spacing) / 1000
    assert (row["label"], float(row["dice"])) == ("Liver", 1.0)
    assert float(row["volume_ml"]) == pytest.approx(expected, rel=1e-3)
