from __future__ import annotations

import numpy as np
import pydicom
import pytest

from medseg.dicom_out import Wanted, write_dicom
from medseg.geometry.orientation import axis_codes
from medseg.metrics.shape import largest_axial_diameter, largest_diameter
from tests.dicom_out.series import ALGORITHM, edit_headers, make_series, segmented, stored_indices

highdicom = pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

VOLUME, MESH_DIAMETER, DIAMETER = "118565006", "L0JK", "81827009"
ATTENUATION, MEAN, SD = "112031", "373098007", "386136009"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_series(tmp_path_factory.mktemp("series") / "ct")


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    paths = write_dicom(folder, "case", made.findings, ALGORITHM, Wanted(sr=True))
    assert [path.name for path in paths] == ["case_seg.dcm", "case_sr.dcm"]
    return highdicom.sr.srread(folder / "case_sr.dcm"), pydicom.dcmread(folder / "case_seg.dcm")


def groups(report):
    return report.content.get_volumetric_roi_measurement_groups()


def figures(group):
    """Return {(name, derivation): (value, unit)} of a group."""
    return {
        (m.name.value, m.derivation.value if m.derivation else None): (m.value, m.unit.value)
        for m in group.get_measurements()
    }


def flags_of(group):
    items = group.get_qualitative_evaluations()
    return [item.value.value for item in items if item.name.value == "QUALITY"]


def test_one_group_for_each_segment_by_number_and_tracking_uid(made, written):
    report, seg = written
    source = made.findings.source.first
    assert report.SOPClassUID == pydicom.uid.Comprehensive3DSRStorage
    assert report.content[0].name.value == "126000"
    assert len(groups(report)) == 3
    for group, segment in zip(groups(report), seg.SegmentSequence, strict=True):
        reference = group.referenced_segment
        assert reference.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert reference.referenced_segment_numbers == [segment.SegmentNumber]
        assert reference.source_series_for_segmentation.value == source.SeriesInstanceUID
        assert group.tracking_uid == segment.TrackingUID
        assert group.finding_type.value == segment.SegmentedPropertyTypeCodeSequence[0].CodeValue


def test_figures_are_those_of_the_voxels_under_the_mask(made, written):
    report, _ = written
    image = made.findings.image
    for number, group in enumerate(groups(report), start=1):
        mask = made.findings.indices == number
        found = figures(group)
        volume = mask.sum() * 0.8 * 0.9 * 2.5 / 1000
        assert found[VOLUME, None] == (pytest.approx(volume, abs=1e-3), "mL")
        largest = largest_diameter(mask, image.grid).length_mm
        assert found[MESH_DIAMETER, None] == (pytest.approx(largest, abs=1e-3), "mm")
        axial = largest_axial_diameter(mask, image.grid).length_mm
        assert found[DIAMETER, "56851009"] == (pytest.approx(axial, abs=1e-3), "mm")
        values = image.data[0][mask].astype(float)
        assert found[ATTENUATION, MEAN] == (pytest.approx(values.mean(), abs=1e-3), "[hnsf'U]")
        assert found[ATTENUATION, SD][0] == pytest.approx(values.std(), abs=1e-3)


def test_a_block_by_hand(made, written):
    """The kidney: 3 x 3 x 2 voxels of 0.8 x 0.9 x 2.5 mm; mesh points end half a voxel out."""
    found = figures(groups(written[0])[2])
    assert found[VOLUME, None][0] == pytest.approx(18 * 1.8 / 1000)
    length = max(
        np.linalg.norm([3 * 0.8, 2 * 0.9, 1 * 2.5]),
        np.linalg.norm([2 * 0.8, 3 * 0.9, 1 * 2.5]),
        np.linalg.norm([2 * 0.8, 2 * 0.9, 2 * 2.5]),
    )
    assert found[MESH_DIAMETER, None][0] == pytest.approx(length, abs=1e-3)


def test_what_touches_the_edge_is_flagged_by_the_patients_side(made, written):
    flags = [flags_of(group) for group in groups(written[0])]
    assert axis_codes(made.findings.source.grid.matrix) == "LPS"
    assert flags == [[], [], ["EDGE_I"]]


def test_what_was_not_found_is_said(written):
    report, _ = written
    (spleen,) = report.content.get_image_measurement_groups()
    assert spleen.finding_type.value == "78961009"
    assert flags_of(spleen) == ["ABSENT"]


def test_sources_and_observer_are_named(made, written):
    report, seg = written
    evidence = {uid for _, _, uid, _ in report.get_evidence()}
    slices = {header.SOPInstanceUID for header in made.findings.source.headers}
    assert evidence == slices | {seg.SOPInstanceUID}
    assert report.StudyInstanceUID == made.findings.source.first.StudyInstanceUID
    text = str(report)
    assert "'medseg'" in text
    assert "phantom (SYNTHETIC)" in text
    assert report.SeriesDescription.startswith("SYNTHETIC")


def test_the_site_of_a_lesion_is_its_organ_and_a_side_is_a_modifier(written):
    _, tumour, kidney = groups(written[0])
    assert tumour.finding_sites[0].value.value == "10200004"
    assert tumour.finding_category.value == "49755003"
    assert kidney.finding_sites[0].laterality.value == "7771000"


def test_nothing_found_gives_a_report_without_a_segmentation(made, tmp_path):
    nothing = segmented(made.folder, np.zeros_like(stored_indices()))
    (path,) = write_dicom(tmp_path, "case", nothing.findings, ALGORITHM, Wanted(sr=True))
    report = highdicom.sr.srread(path)
    assert len(groups(report)) == 0
    assert len(report.content.get_image_measurement_groups()) == 4


def test_intensities_of_other_modalities_are_no_hounsfield_units(tmp_path):
    make_series(tmp_path / "mr")

    def magnetic(dataset, number):
        dataset.Modality = "MR"
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage

    edit_headers(tmp_path / "mr", magnetic)
    made = segmented(tmp_path / "mr", stored_indices())
    write_dicom(tmp_path, "case", made.findings, ALGORITHM, Wanted(sr=True))
    found = figures(groups(highdicom.sr.srread(tmp_path / "case_sr.dcm"))[0])
    assert found["110852", MEAN][1] == "1"
