"""Real series: JPEG 2000 without study, slices from head to feet with a wrong thickness."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from medseg.case import Case, ImageFile, LabelPart
from medseg.dicom_out import Findings, Wanted, read_source, write_dicom
from medseg.io.dicom import choose_series
from medseg.io.load import load_image, load_label
from medseg.labels import Label, LabelScheme
from tests.dicom_out.series import ALGORITHM, check_points, frame_points, frames_of, world_points

highdicom = pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

pytestmark = pytest.mark.data


def test_an_oblique_mr_series(data_root, tmp_path):
    """Tilted by 10.8 degrees, 6.5 mm between slices whose thickness says 5."""
    (folder,) = {p.parent for p in (data_root / "dicom").rglob("*.dcm") if "t1post" in str(p)}
    image = load_image(Case(id="mr", image=(ImageFile(path=folder),)))
    files = choose_series(folder, None).files
    source = read_source(folder, files, image.slice_of_file, image.stored)
    bright = image.volume.data[0] > np.percentile(image.volume.data, 97)
    scheme = LabelScheme(labels=(Label(value=1, name="brain"),))
    found = Findings(
        source=source, image=image.volume, indices=bright.astype(np.int16), scheme=scheme
    )
    write_dicom(tmp_path, "c", found, ALGORITHM, Wanted(seg=True))
    check_places(found, tmp_path / "c_seg.dcm")
    shared = pydicom.dcmread(tmp_path / "c_seg.dcm").SharedFunctionalGroupsSequence[0]
    assert float(shared.PixelMeasuresSequence[0].SliceThickness) == pytest.approx(6.5, abs=1e-3)


def findings(root, name, scheme, part):
    folder = root / "ct_abdomen" / "images" / name
    case = Case(id=name, image=(ImageFile(path=folder),), label=(part,))
    image = load_image(case)
    files = choose_series(folder, None).files
    source = read_source(folder, files, image.slice_of_file, image.stored)
    indices = load_label(case, scheme, image)
    return Findings(source=source, image=image.volume, indices=indices, scheme=scheme)


def check_places(found, path):
    """Compare voxel by voxel in the world, by pydicom and by highdicom."""
    dataset = pydicom.dcmread(path)
    frames = dataset.pixel_array
    affine = found.image.affine
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    to_ras = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    for segment in dataset.SegmentSequence:
        number = segment.SegmentNumber
        own = frames_of(dataset, number)
        places = np.concatenate([frame_points(dataset, frames, k) for k in own])
        assert len(places) > 1000
        mask = found.indices == number
        check_points(places, mask, affine)
        check_points(world_points(volume.array == number, to_ras), mask, affine)


def test_jpeg_2000_slices_without_names_or_study(data_root, tmp_path, caplog):
    scheme = LabelScheme(labels=(Label(value=5, name="liver"), Label(value=1, name="spleen")))
    part = LabelPart(
        path=data_root / "ct_abdomen" / "labels" / "ts_dicom20.nii.gz",
        select={"liver": (5,), "spleen": (1,)},
    )
    found = findings(data_root, "ts_dicom20", scheme, part)
    write_dicom(tmp_path, "c", found, ALGORITHM, Wanted(sr=True))
    assert "no StudyInstanceUID" in caplog.text
    check_places(found, tmp_path / "c_seg.dcm")
    report = highdicom.sr.srread(tmp_path / "c_sr.dcm")
    group, *_ = report.content.get_volumetric_roi_measurement_groups()
    figures = {m.name.value: m.value for m in group.get_measurements()}
    assert figures["118565006"] == pytest.approx(699.4, abs=0.1)  # from the data's own notes
    flags = {item.value.value for item in group.get_qualitative_evaluations()}
    assert {"EDGE_S", "EDGE_I"} <= flags  # a slab of 40 mm: cut at both ends


def test_slices_that_fall_with_a_wrong_thickness(data_root, tmp_path):
    scheme = LabelScheme(labels=(Label(value=1, name="liver"),))
    part = LabelPart(path=data_root / "ct_abdomen" / "labels" / "chaos_ct3", select={"liver": ()})
    found = findings(data_root, "chaos_ct3", scheme, part)
    write_dicom(tmp_path, "c", found, ALGORITHM, Wanted(sr=True))
    check_places(found, tmp_path / "c_seg.dcm")
    report = highdicom.sr.srread(tmp_path / "c_sr.dcm")
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    measures = {
        (m.name.value, m.derivation.value if m.derivation else None): m.value
        for m in group.get_measurements()
    }
    assert measures["118565006", None] == pytest.approx(1417.5, abs=0.1)  # 2268 by thickness
    assert measures["112031", "373098007"] == pytest.approx(141, abs=0.5)
    assert measures["112031", "386136009"] == pytest.approx(34, abs=0.5)
