from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK

from medseg.dicom_out import Wanted, write_dicom
from medseg.dicom_out.segments import list_segments, segment_pixels
from medseg.labels import Label, LabelScheme, Region
from tests.dicom_out.series import (
    ALGORITHM,
    SCHEME,
    check_points,
    edit_headers,
    frame_points,
    frames_of,
    make_series,
    segmented,
    stored_indices,
    world_points,
)

highdicom = pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

FOUND = (1, 2, 3)
"""Class indices with voxels, which become segments 1 to 3."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_series(tmp_path_factory.mktemp("series") / "ct")


def write(made, folder, **wanted):
    (path,) = write_dicom(folder, "case", made.findings, ALGORITHM, Wanted(**wanted))
    return path


def test_every_voxel_of_every_segment_stands_where_it_was_predicted(made, tmp_path):
    """Frames as pydicom decodes them, placed by their own positions alone."""
    dataset = pydicom.dcmread(write(made, tmp_path, seg=True))
    frames = dataset.pixel_array
    for number in FOUND:
        own = frames_of(dataset, number)
        found = np.concatenate([frame_points(dataset, frames, k) for k in own])
        check_points(found, made.findings.indices == number, made.findings.image.affine)


def test_simpleitk_decodes_the_same_frames(made, tmp_path):
    path = write(made, tmp_path, seg=True)
    decoded = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    assert np.array_equal(decoded > 0, pydicom.dcmread(path).pixel_array > 0)


@pytest.mark.parametrize("kind", ["seg", "labelmap"])
def test_highdicom_reads_the_volume_back(made, tmp_path, kind):
    read = highdicom.seg.segread(write(made, tmp_path, **{kind: True}))
    kinds = {"seg": "BINARY", "labelmap": "LABELMAP"}
    assert read.segmentation_type.value == kinds[kind]
    volume = read.get_volume(combine_segments=True)
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    for number in FOUND:
        check_points(
            world_points(volume.array == number, affine),
            made.findings.indices == number,
            made.findings.image.affine,
        )


def test_empty_frames_are_left_out_and_every_slice_is_referenced(made, tmp_path):
    dataset = pydicom.dcmread(write(made, tmp_path, seg=True))
    assert dataset.pixel_array.any(axis=(1, 2)).all()
    slices = sum(int((made.stored == n).any(axis=(0, 1)).sum()) for n in FOUND)
    assert int(dataset.NumberOfFrames) == slices == 4 + 2 + 2
    source = made.findings.source
    (series,) = dataset.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.first.SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == {
        header.SOPInstanceUID for header in source.headers
    }


def test_each_frame_names_the_slice_it_was_drawn_on(made, tmp_path):
    dataset = pydicom.dcmread(write(made, tmp_path, seg=True))
    place = {h.SOPInstanceUID: h.ImagePositionPatient for h in made.findings.source.headers}
    for group in dataset.PerFrameFunctionalGroupsSequence:
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        np.testing.assert_allclose(
            np.array(group.PlanePositionSequence[0].ImagePositionPatient, float),
            np.array(place[image.ReferencedSOPInstanceUID], float),
            atol=1e-6,
        )


def test_it_belongs_to_the_study_and_says_who_made_it(made, tmp_path):
    dataset = pydicom.dcmread(write(made, tmp_path, seg=True))
    first = made.findings.source.first
    assert dataset.StudyInstanceUID == first.StudyInstanceUID
    assert dataset.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert dataset.SeriesInstanceUID != first.SeriesInstanceUID
    assert (dataset.PatientID, dataset.PatientName) == (first.PatientID, "Doe^Jane")
    assert dataset.Manufacturer == dataset.ManufacturerModelName == "medseg"
    assert dataset.SoftwareVersions == ALGORITHM.version
    assert dataset.SeriesDescription.startswith("SYNTHETIC medseg segmentation")
    assert made.findings.source.first.PatientName == ""  # the headers were not written to


def test_segments_are_coded_and_tracked(made, tmp_path):
    dataset = pydicom.dcmread(write(made, tmp_path, seg=True))
    liver, tumour, kidney = dataset.SegmentSequence
    assert [s.SegmentNumber for s in dataset.SegmentSequence] == [1, 2, 3]
    assert [s.SegmentLabel for s in (liver, tumour, kidney)] == [
        "liver",
        "liver tumour",
        "kidney_left",
    ]
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert liver.SegmentAlgorithmType == "AUTOMATIC"
    algorithm = liver.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("medseg", ALGORITHM.version)
    assert "phantom (SYNTHETIC)" in str(algorithm.AlgorithmParameters)
    assert tumour.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert tumour.AnatomicRegionSequence[0].CodeValue == "10200004"
    (kind,) = kidney.SegmentedPropertyTypeCodeSequence
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert len({s.TrackingUID for s in dataset.SegmentSequence}) == 3
    red = highdicom.color.CIELabColor.from_rgb(255, 0, 0)
    assert list(liver.RecommendedDisplayCIELabValue) == list(red.value)


def test_distances_come_from_positions_and_not_from_the_slice_thickness(made, tmp_path):
    folder = tmp_path / "ct"
    make_series(folder)
    edit_headers(folder, lambda d, n: setattr(d, "SliceThickness", 7))
    dataset = pydicom.dcmread(write(segmented(folder, stored_indices()), tmp_path, seg=True))
    (measures,) = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert float(measures.SpacingBetweenSlices) == pytest.approx(2.5)
    assert float(measures.SliceThickness) == pytest.approx(2.5)


NESTED = LabelScheme(
    labels=(Label(value=1, name="oedema"), Label(value=2, name="tumour")),
    regions=(
        Region(name="whole tumour", labels=("oedema", "tumour")),
        Region(name="tumour core", labels=("tumour",)),
    ),
)


def test_regions_overlap_in_binary_and_are_labels_in_a_label_map(tmp_path):
    indices = np.minimum(stored_indices(), 2)
    made = make_series(tmp_path / "ct", indices, NESTED)
    binary = pydicom.dcmread(write(made, tmp_path / "a", seg=True))
    assert [s.SegmentLabel for s in binary.SegmentSequence] == ["whole tumour", "tumour core"]
    assert binary.SegmentsOverlap == "YES"
    assert int(binary.pixel_array.sum()) == int((indices > 0).sum() + (indices == 2).sum())
    plain = highdicom.seg.segread(write(made, tmp_path / "b", labelmap=True))
    assert [s.SegmentLabel for s in plain.SegmentSequence] == ["Background", "oedema", "tumour"]
    assert int((plain.pixel_array == 2).sum()) == int((indices == 2).sum())


def test_numbers_have_no_gap_where_a_structure_is_absent():
    indices = np.array([[[0, 4, 1]]], np.int16)
    segments = list_segments(indices, SCHEME, overlap=True)
    assert [(s.number, s.name) for s in segments.found] == [(1, "liver"), (2, "spleen")]
    assert [s.name for s in segments.absent] == ["liver tumour", "kidney_left"]
    assert segment_pixels(indices, segments.found).tolist() == [[[0, 2, 1]]]


def test_a_structure_without_code_is_named_in_a_warning(caplog):
    scheme = LabelScheme(labels=(Label(value=1, name="thing"),))
    list_segments(np.ones((1, 1, 1), np.int16), scheme, overlap=True)
    assert "no SNOMED CT code for thing" in caplog.text


def test_one_slice_is_enough(tmp_path):
    indices = np.zeros((8, 7, 1), np.int16)
    indices[2:4, 3:5] = 1
    made = make_series(tmp_path / "ct", indices)
    dataset = pydicom.dcmread(write(made, tmp_path, seg=True))
    frames = np.atleast_3d(dataset.pixel_array).reshape(1, 7, 8)
    found = frame_points(dataset, frames, 0)
    check_points(found, made.findings.indices == 1, made.findings.image.affine)
