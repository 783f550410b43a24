from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from medseg.case import Case, ImageFile, LabelPart, SegmentRule
from medseg.dicom_out import Wanted, write_dicom
from medseg.errors import CaseError, FormatError
from medseg.geometry.orientation import reorient_to
from medseg.geometry.volume import Volume
from medseg.io.dicom_seg import read_seg
from medseg.io.load import load_image, load_label
from medseg.io.volumes import read_volume
from medseg.labels import Label, LabelScheme, Region
from medseg.phantom.dicom_files import write_dicom_series
from tests.dicom_out.series import (
    ALGORITHM,
    SCHEME,
    check_points,
    make_series,
    oblique_affine,
    world_points,
)
from tests.io.dicom_objects import slices_of, write_seg

LIVER, TUMOUR = ("Liver", "10200004"), ("Tumor", "108369006")
ONE = LabelScheme(labels=(Label(value=1, name="liver"),))
TWO = LabelScheme(labels=(Label(value=1, name="liver"), Label(value=2, name="tumour")))


@pytest.fixture
def series(tmp_path):
    """Six oblique slices of 7 x 5 pixels: no frame of bits ends with a byte."""
    data = np.random.default_rng(0).integers(-100, 200, (1, 7, 5, 6)).astype(np.int16)
    write_dicom_series(tmp_path / "ct", Volume(data=data, affine=oblique_affine()), patient="A")
    return tmp_path / "ct"


def case(image, label, **rule):
    part = LabelPart(path=label, segments=SegmentRule(**rule) if rule else None)
    return Case(id="c", image=(ImageFile(path=image),), label=(part,))


def stored_label(image, label, scheme=ONE, **rule):
    """Load through the user's road and turn back to columns, rows, slices."""
    one = case(image, label, **rule)
    loaded = load_image(one)
    found = load_label(one, scheme, loaded)
    volume = Volume(data=found[np.newaxis], affine=loaded.volume.affine)
    return reorient_to(volume, loaded.stored).data[0]


def masks(*, seed=1, count=1, shape=(7, 5, 6)):
    return np.random.default_rng(seed).random((count, *shape)) > 0.5


def frames_of(mask, number=1, slices=range(6)):
    return [(number, k, mask[:, :, k].T) for k in slices]


def test_bits_are_placed_by_position_and_missing_frames_are_empty(series, tmp_path):
    (mask,) = masks()
    shuffled = frames_of(mask, slices=(4, 1, 3))
    path = write_seg(tmp_path / "s.dcm", slices_of(series), shuffled, [(1, *LIVER)])
    mask[:, :, [0, 2, 5]] = False
    np.testing.assert_array_equal(stored_label(series, path), mask)


def test_label_map_holds_numbers(series, tmp_path):
    numbers = np.random.default_rng(2).choice([0, 1, 5], (7, 5, 6))
    path = write_seg(
        tmp_path / "s.dcm",
        slices_of(series),
        frames_of(numbers, None),
        [(0, "Background", "1"), (1, *LIVER), (5, *TUMOUR)],
        kind="LABELMAP",
    )
    found = stored_label(series, path, TWO, structures={"liver": ("liver",), "tumour": ("5",)})
    np.testing.assert_array_equal(found, np.select([numbers == 1, numbers == 5], [1, 2]))


def test_value_that_no_segment_describes_is_refused(series, tmp_path):
    numbers = np.full((7, 5, 6), 3)
    path = write_seg(
        tmp_path / "s.dcm", slices_of(series), frames_of(numbers, None), [(1, *LIVER)],
        kind="LABELMAP",
    )  # fmt: skip
    with pytest.raises(CaseError, match=r"frame 1 holds 3, which no segment describes.*1 'Liver'"):
        stored_label(series, path)


def test_fraction_counts_from_one_half_on(series, tmp_path):
    values = np.zeros((7, 5, 6))
    values[0, 0, 0], values[1, 0, 0], values[2, 0, 0] = 99, 100, 200  # of 200
    path = write_seg(
        tmp_path / "s.dcm", slices_of(series), frames_of(values), [(1, *LIVER)], kind="FRACTIONAL"
    )
    assert np.argwhere(stored_label(series, path)).tolist() == [[1, 0, 0], [2, 0, 0]]


@pytest.mark.parametrize(
    ("label", "rule"),
    [
        (Label(value=1, name="LIVER"), {}),
        (Label(value=1, name="organ", snomed="10200004"), {}),
        (Label(value=3, name="organ"), {"match": "number"}),
        (Label(value=1, name="organ"), {"structures": {"organ": ("li*",)}}),
        (Label(value=1, name="organ"), {"structures": {"organ": ("SCT:10200004",)}}),
        (Label(value=1, name="organ"), {"structures": {"organ": ("SRT:T-62000",)}}),  # the same
        (Label(value=1, name="organ"), {"structures": {"organ": ("3",)}}),
    ],
)
def test_segment_is_found_by_name_code_or_number(series, tmp_path, label, rule):
    (mask,) = masks()
    path = write_seg(tmp_path / "s.dcm", slices_of(series), frames_of(mask, 3), [(3, *LIVER)])
    found = stored_label(series, path, LabelScheme(labels=(label,)), **rule)
    np.testing.assert_array_equal(found, mask)


def test_unknown_segments_are_listed_with_the_nearest_label(series, tmp_path):
    (mask,) = masks()
    path = write_seg(
        tmp_path / "s.dcm", slices_of(series), frames_of(mask), [(1, "Livver", "1"), (2, *TUMOUR)]
    )
    with pytest.raises(CaseError) as error:
        stored_label(series, path)
    message = str(error.value)
    assert "1 'Livver' (SCT:1), 2 'Tumor' (SCT:108369006)" in message
    assert "structures" in message
    with pytest.raises(CaseError, match=r"no segment is one of livr; all .*did you mean 'Livver'"):
        stored_label(series, path, structures={"liver": ("livr",)})
    with pytest.raises(CaseError, match="selected as 'liver' and as 'tumour'"):
        stored_label(series, path, TWO, structures={"liver": ("*",), "tumour": ("tumor",)})


def test_label_map_of_the_manifest_names_segments(series, tmp_path):
    first, second = masks(count=2)
    path = write_seg(
        tmp_path / "s.dcm",
        slices_of(series),
        [*frames_of(first, 1), *frames_of(second, 2)],
        [(1, "GTV", "1"), (2, "Table", "2")],
    )
    table = {"GTV": "liver", "Table": "background"}
    scheme = LabelScheme(labels=ONE.labels, label_map=table)
    np.testing.assert_array_equal(stored_label(series, path, scheme), first)


def overlapping(series, path, names=("liver", "tumour")):
    first, second = masks(count=2)
    frames = [*frames_of(second, 2), *frames_of(first, 1)]
    segments = [(i, name, str(i)) for i, name in enumerate(names, start=1)]
    return write_seg(path, slices_of(series), frames, segments), first, second


def test_overlap_is_refused_unless_the_later_label_may_win(series, tmp_path):
    path, first, second = overlapping(series, tmp_path / "s.dcm")
    both = int((first & second).sum())
    with pytest.raises(CaseError, match=rf"'liver' and 'tumour' on {both} voxels.*overlap: later"):
        stored_label(series, path, TWO)
    expected = np.where(second, 2, first)
    np.testing.assert_array_equal(stored_label(series, path, TWO, overlap="later"), expected)


def test_overlapping_regions_are_told_apart_by_the_labels_they_hold(series, tmp_path):
    scheme = LabelScheme(
        labels=(Label(value=1, name="oedema"), Label(value=2, name="core")),
        regions=(
            Region(name="whole", labels=("oedema", "core")),
            Region(name="tumour", labels=("core",)),
        ),
    )
    path, whole, tumour = overlapping(series, tmp_path / "s.dcm", ("whole", "tumour"))
    with pytest.raises(CaseError, match=r"voxels are in 'tumour' and in no other.*no label has"):
        stored_label(series, path, scheme)
    path = write_seg(
        tmp_path / "t.dcm",
        slices_of(series),
        [*frames_of(whole, 1), *frames_of(whole & tumour, 2)],
        [(1, "whole", "1"), (2, "tumour", "2")],
    )
    np.testing.assert_array_equal(stored_label(series, path, scheme), whole * (1 + tumour))


def test_seg_of_other_slices_is_refused(series, tmp_path):
    (mask,) = masks()
    headers = slices_of(series)
    for header in headers:
        header.SOPInstanceUID = generate_uid()
    path = write_seg(tmp_path / "s.dcm", headers, frames_of(mask), [(1, *LIVER)])
    with pytest.raises(CaseError, match=r"s\.dcm: refers to 6 slices, none of which is in the im"):
        stored_label(series, path)
    found = stored_label(series, path, placed_by="positions")
    np.testing.assert_array_equal(found, mask)


def test_another_frame_of_reference_is_refused(series, tmp_path):
    def change(seg):
        seg.FrameOfReferenceUID = "1.9"

    path = write_seg(
        tmp_path / "s.dcm", slices_of(series), frames_of(masks()[0]), [(1, *LIVER)],
        refer=False, change=change,
    )  # fmt: skip
    with pytest.raises(CaseError, match="another frame of reference"):
        stored_label(series, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ImagePositionPatient": (0, 0, 1.2)}, r"frame 1: stands at .*where the image has no sl"),
        ({"ImagePositionPatient": (0.4, 0, 0)}, r"frame 1: 7 x 5 pixels from voxel .* are not am"),
        ({"PixelSpacing": 2.0}, r"frame 1: pixels of 1\.8 x 1\.6 mm along other lines"),
    ],
)
def test_frames_beside_the_slices_are_refused(tmp_path, change, message):
    data = np.zeros((1, 7, 5, 6), np.int16)
    affine = np.diag([-0.8, -0.9, 2.5, 1])
    write_dicom_series(tmp_path / "ct", Volume(data=data, affine=affine), patient="A")
    headers = slices_of(tmp_path / "ct")
    for header in headers:
        if "PixelSpacing" in change:
            header.PixelSpacing = [2 * x for x in header.PixelSpacing]
        else:
            shift = change["ImagePositionPatient"]
            header.ImagePositionPatient = list(np.add(header.ImagePositionPatient, shift))
    path = write_seg(tmp_path / "s.dcm", headers, frames_of(masks()[0]), [(1, *LIVER)])
    with pytest.raises(CaseError, match=message):
        stored_label(tmp_path / "ct", path)


def test_empty_frames_may_stand_anywhere(series, tmp_path):
    headers = slices_of(series)
    headers[0].ImagePositionPatient = [0, 0, 999]
    (mask,) = masks()
    mask[:, :, 0] = False
    path = write_seg(tmp_path / "s.dcm", headers, frames_of(mask), [(1, *LIVER)])
    np.testing.assert_array_equal(stored_label(series, path), mask)


def test_damaged_objects_are_named(series, tmp_path):
    (mask,) = masks()
    headers = slices_of(series)

    def cut(seg):
        seg.PixelData = seg.PixelData[:-6]

    path = write_seg(tmp_path / "cut.dcm", headers, frames_of(mask), [(1, *LIVER)], change=cut)
    with pytest.raises(CaseError, match=r"cut\.dcm: pixels cannot be decoded \(\d+ bytes for 6"):
        stored_label(series, path)

    def lose(seg):
        del seg.PerFrameFunctionalGroupsSequence[3:]

    path = write_seg(tmp_path / "few.dcm", headers, frames_of(mask), [(1, *LIVER)], change=lose)
    with pytest.raises(CaseError, match=r"6 frames, of which 3 are described"):
        stored_label(series, path)

    def nameless(seg):
        del seg.SegmentSequence

    path = write_seg(tmp_path / "n.dcm", headers, frames_of(mask), [(1, *LIVER)], change=nameless)
    with pytest.raises(FormatError, match=r"not a complete DICOM Segmentation"):
        read_seg(path)
    whole = (tmp_path / "n.dcm").read_bytes()
    (tmp_path / "n.dcm").write_bytes(whole[:-7])  # a file cut in its last element
    with pytest.raises(CaseError, match=r"n\.dcm: .*copy the file|export it again"):
        stored_label(series, path)


def test_folder_of_several_objects_is_one_annotation(series, tmp_path):
    first, second = masks(count=2)
    second &= ~first
    headers = slices_of(series)
    write_seg(tmp_path / "o/a.dcm", headers, frames_of(first), [(1, *LIVER)])
    write_seg(tmp_path / "o/b.dcm", headers, frames_of(second), [(1, "tumour", "2")])
    found = stored_label(series, tmp_path / "o", TWO)
    np.testing.assert_array_equal(found, first + 2 * second)


@pytest.mark.parametrize("wanted", ["seg", "labelmap"])
def test_our_own_objects_come_back_as_highdicom_reads_them(tmp_path, wanted):
    highdicom = pytest.importorskip("highdicom")
    written = make_series(tmp_path / "ct")
    (path,) = write_dicom(tmp_path, "c", written.findings, ALGORITHM, Wanted(**{wanted: True}))
    found = stored_label(tmp_path / "ct", path, SCHEME)
    np.testing.assert_array_equal(found, written.stored)
    theirs = highdicom.seg.segread(path).get_volume(combine_segments=True)
    affine = np.diag([-1.0, -1, 1, 1]) @ theirs.affine  # they stand in LPS
    names = [s.SegmentLabel for s in pydicom.dcmread(path).SegmentSequence if s.SegmentNumber]
    assert names == ["liver", "liver tumour", "kidney_left"]
    image = load_image(case(tmp_path / "ct", path))
    for number in (1, 2, 3):
        points = world_points(theirs.array == number, affine)
        check_points(points, found == number, image.stored.matrix)


DCMQI = "dicom_seg/dcmqi"


@pytest.mark.data
def test_real_binary_seg_equals_its_nrrd_twin(data_root):
    folder = data_root / DCMQI
    image = load_image(Case(id="c", image=(ImageFile(path=folder / "ct-3slice"),)))
    twin = reorient_to(read_volume(folder / "liver_seg.nrrd"), image.stored).data[0]
    found = stored_label(folder / "ct-3slice", folder / "liver.dcm")
    np.testing.assert_array_equal(found, twin != 0)
    assert found.sum() == 107098


@pytest.mark.data
def test_real_overlaps_are_refused_or_the_later_label_wins(data_root):
    folder = data_root / DCMQI
    names = ("green", "orange", "purple", "light blue", "dark blue")
    scheme = LabelScheme(labels=tuple(Label(value=i, name=n) for i, n in enumerate(names, 1)))
    path, image = folder / "partial_overlaps.dcm", folder / "ct-3slice"
    with pytest.raises(CaseError, match="'green' and 'orange' on 3017 voxels"):
        stored_label(image, path, scheme)
    found = stored_label(image, path, scheme, overlap="later")
    seg = pydicom.dcmread(path)  # independent: frame by frame, the highest number wins
    expected = np.zeros_like(found)
    for group, plane in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        k = round(float(group.PlanePositionSequence[0].ImagePositionPatient[2]) + 128.69)
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        expected[:, :, k] = np.maximum(expected[:, :, k], number * plane.T)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.data
@pytest.mark.parametrize("name", ["noppv", "ppv5"])
def test_real_label_maps_equal_their_twins(data_root, name):
    twin = data_root / DCMQI / f"sparse_labelmap_{name}_seg.nrrd"  # 5 stands where no frame is
    found = stored_label(twin, data_root / DCMQI / f"sparse-labelmap-{name}.dcm")
    np.testing.assert_array_equal(found, read_volume(twin).data[0] == 1)
    assert found.sum() == 630


@pytest.mark.data
def test_gapped_values_of_the_nrrd_twin_are_read_by_the_label_table(data_root):
    folder = data_root / DCMQI
    scheme = LabelScheme(labels=(Label(value=1, name="liver"), Label(value=5, name="spine")))
    found = stored_label(folder / "ct-3slice", folder / "liver_spine_gapped_seg.nrrd", scheme)
    stored = read_volume(folder / "liver_spine_gapped_seg.nrrd").data
    assert np.bincount(found.ravel())[1:].tolist() == [(stored == v).sum() for v in (1, 5)]
    assert (found == 2).any()
    with pytest.raises(CaseError, match="value 5 is not in the label table"):
        stored_label(folder / "ct-3slice", folder / "liver_spine_gapped_seg.nrrd")


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "seg_image_ct_binary",
        "seg_image_ct_binary_fractional",
        "seg_image_ct_binary_overlap",
        "seg_image_ct_binary_single_frame",
        "seg_image_ct_true_fractional",
    ],
)
def test_real_highdicom_objects_hold_what_highdicom_reads(data_root, name):
    highdicom = pytest.importorskip("highdicom")
    path = data_root / f"dicom_seg/highdicom/{name}.dcm"
    seg = read_seg(path)
    theirs = highdicom.seg.segread(path)
    pixels = theirs.pixel_array.reshape(-1, theirs.Rows, theirs.Columns)
    if seg.kind == "FRACTIONAL":
        pixels = pixels / theirs.MaximumFractionalValue >= 0.5
    found = list(seg.masks(seg.segments))
    assert len(found) == len(pixels)
    for (segment, header, mask), group, plane in zip(
        found, theirs.PerFrameFunctionalGroupsSequence, pixels, strict=True
    ):
        np.testing.assert_array_equal(mask, plane)
        place = [float(x) for x in group.PlanePositionSequence[0].ImagePositionPatient]
        assert header.position == tuple(place)
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert segment.number == number
        assert theirs.get_segment_description(number).segment_label == segment.name


@pytest.mark.data
def test_real_seg_of_other_slices_is_refused(data_root):
    folder = data_root / "dicom_seg/highdicom"
    found = stored_label(
        folder / "ct_image.dcm", folder / "seg_image_ct_binary_single_frame.dcm",
        structures={"liver": ("first segment",)},
    )  # fmt: skip
    seg = pydicom.dcmread(folder / "seg_image_ct_binary_single_frame.dcm")
    np.testing.assert_array_equal(found[:, :, 0].T, seg.pixel_array)
    with pytest.raises(CaseError, match="refers to 4 slices, none of which is in the image"):
        stored_label(
            folder / "ct_image.dcm", folder / "seg_image_ct_binary.dcm",
            structures={"liver": ("first segment",)},
        )  # fmt: skip
