from __future__ import annotations

import re
from io import BytesIO

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medseg.case import Case, ImageFile
from medseg.errors import CaseError, FormatError
from medseg.geometry.volume import Volume
from medseg.io.dicom_pixels import decode_frames
from medseg.io.load import load_image
from medseg.io.volumes import read_volume
from medseg.phantom.dicom_files import write_dicom_series
from tests.dicom_out.series import oblique_affine
from tests.io.dicom_objects import item, slices_of, write_enhanced, write_seg

SHIFT = (1.0, -1024.0)


@pytest.fixture
def classic(tmp_path):
    data = np.random.default_rng(0).integers(-1000, 800, (1, 9, 8, 6)).astype(np.int16)
    volume = Volume(data=data, affine=oblique_affine())
    write_dicom_series(tmp_path / "classic", volume, patient="A")
    return tmp_path / "classic"


def shuffled(headers):
    return [headers[i] for i in (3, 0, 5, 1, 4, 2)]


def test_enhanced_image_equals_its_single_slices(classic, tmp_path):
    path = write_enhanced(tmp_path / "e/x.dcm", shuffled(slices_of(classic)), [SHIFT] * 6)
    one, many = read_volume(classic), read_volume(tmp_path / "e")
    assert many.data.dtype == np.int16
    np.testing.assert_array_equal(many.data, one.data)
    np.testing.assert_allclose(many.affine, one.affine, atol=1e-6)
    np.testing.assert_array_equal(read_volume(path).data, one.data)


def test_each_frame_has_its_own_rescale(classic, tmp_path):
    headers = slices_of(classic)
    scales = [(0.5 + k, 10.0 * k) for k in range(6)]
    write_enhanced(tmp_path / "e/x.dcm", headers, scales)
    found = read_volume(tmp_path / "e").data[0]
    assert found.dtype == np.float32
    for k, (slope, intercept) in enumerate(scales):
        expected = headers[k].pixel_array.T * slope + intercept
        np.testing.assert_allclose(found[:, :, k], expected, rtol=1e-6)


def test_multi_frame_case_loads_and_is_known_by_its_uids(classic, tmp_path):
    path = write_enhanced(tmp_path / "e/x.dcm", slices_of(classic), [SHIFT] * 6)
    loaded = load_image(Case(id="c", image=(ImageFile(path=tmp_path / "e"),)))
    assert loaded.slice_of_file is None
    assert loaded.series.instances == {pydicom.dcmread(path).SOPInstanceUID}


def refused(tmp_path, headers, message, change=None):
    path = write_enhanced(tmp_path / "e/x.dcm", headers, [SHIFT] * len(headers), change=change)
    with pytest.raises(FormatError, match=message):
        read_volume(path)


def test_gap_between_frames_is_named_with_its_position(classic, tmp_path):
    headers = slices_of(classic)
    path = write_enhanced(tmp_path / "x.dcm", headers[:3] + headers[4:], [SHIFT] * 5)
    with pytest.raises(FormatError, match=r"1 missing between slice 2 \(frame 3 of x") as error:
        read_volume(path)
    place = re.search(r"belongs at \((.*?)\)", str(error.value))[1]
    expected = [float(x) for x in headers[3].ImagePositionPatient]
    np.testing.assert_allclose([float(x) for x in place.split(",")], expected, atol=2e-3)


def test_two_phases_in_one_file_are_refused(classic, tmp_path):
    headers = slices_of(classic)
    message = r"frame \d+: stands at the same position as frame .*several phases, echoes"
    refused(tmp_path, headers + headers, message)


def test_frames_of_several_orientations_are_refused(classic, tmp_path):
    def turn(made):
        for k, group in enumerate(made.PerFrameFunctionalGroupsSequence):
            turned = [1, 0, 0, 0, 0, -1] if k % 2 else [1, 0, 0, 0, 1, 0]
            group.PlaneOrientationSequence = [item(ImageOrientationPatient=turned)]

    message = r"2 orientations in one series: 3 axial \(such as frame 1 of x\.dcm\), 3 coronal"
    refused(tmp_path, slices_of(classic), message, change=turn)


def test_scout_frames_are_refused(classic, tmp_path):
    def mark(made):
        kind = item(FrameType=["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"])
        made.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence = [kind]

    refused(tmp_path, slices_of(classic), "is a scout", change=mark)


def test_frames_without_a_place_are_refused(classic, tmp_path):
    def lose(made):
        del made.PerFrameFunctionalGroupsSequence

    refused(tmp_path, slices_of(classic), "6 frames, which do not say where they stand", lose)

    def lose_one(made):
        del made.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence

    refused(tmp_path, slices_of(classic), "frame 5: ImagePositionPatient is None", lose_one)


def test_cut_file_is_named(classic, tmp_path):
    path = write_enhanced(tmp_path / "e/x.dcm", slices_of(classic), [SHIFT] * 6)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CaseError, match=r"x\.dcm: .*copy the file"):
        load_image(Case(id="c", image=(ImageFile(path=tmp_path / "e"),)))


def test_several_multi_frame_files_in_a_series_are_refused(classic, tmp_path):
    for name in ("x", "y"):
        path = write_enhanced(tmp_path / f"e/{name}.dcm", slices_of(classic), [SHIFT] * 6)
        made = pydicom.dcmread(path)
        made.SeriesInstanceUID = "1.2.3"
        made.save_as(path)
    with pytest.raises(FormatError, match=r"2 multi-frame files in one series \(x\.dcm, y\.dcm\)"):
        read_volume(tmp_path / "e")


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_frames_equal_plain_ones(tmp_path, syntax):
    if syntax == JPEGLSLossless:
        pytest.importorskip("jpeg_ls", reason="an encoder is needed")
    data = np.random.default_rng(0).integers(-1000, 800, (1, 20, 24, 3)).astype(np.int16)
    volume = Volume(data=data, affine=np.diag([-1.0, -1, 2, 1]))
    write_dicom_series(tmp_path / "classic", volume, patient="A")
    path = write_enhanced(
        tmp_path / "x.dcm",
        slices_of(tmp_path / "classic"),
        [SHIFT] * 3,
        change=lambda made: made.compress(syntax),
    )
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_volume(path).data, data)


def test_bits_agree_with_pydicom(classic, tmp_path):
    headers = slices_of(classic)
    pixels = np.random.default_rng(0).random((6, 8, 9)) > 0.5
    frames = [(1, k, pixels[k]) for k in range(6)]
    path = write_seg(tmp_path / "s.dcm", headers, frames, [(1, "liver", "1")])
    seg = pydicom.dcmread(path)
    np.testing.assert_array_equal(decode_frames(seg, path), seg.pixel_array)
    np.testing.assert_array_equal(decode_frames(seg, path), pixels)


def jpeg2000(made):
    """Encode by Pillow, which is not what decodes."""
    coded = []
    for plane in made.pixel_array:
        stream = BytesIO()
        Image.fromarray(plane).save(stream, format="JPEG2000", irreversible=False, no_jp2=True)
        coded.append(stream.getvalue())
    made.PixelData = encapsulate(coded)
    made.file_meta.TransferSyntaxUID = JPEG2000Lossless


def deflated(made):
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


@pytest.mark.parametrize("pack", [jpeg2000, deflated])
def test_frames_packed_otherwise_equal_plain_ones(tmp_path, pack):
    data = np.random.default_rng(0).integers(-1000, 800, (1, 40, 36, 3)).astype(np.int16)
    volume = Volume(data=data, affine=np.diag([-1.0, -1, 2, 1]))
    write_dicom_series(tmp_path / "classic", volume, patient="A")
    headers = slices_of(tmp_path / "classic")
    path = write_enhanced(tmp_path / "x.dcm", headers, [SHIFT] * 3, change=pack)
    assert (
        path.stat().st_size
        < write_enhanced(tmp_path / "y.dcm", headers, [SHIFT] * 3).stat().st_size
    )
    np.testing.assert_array_equal(read_volume(path).data, data)


def test_a_decoder_that_is_not_installed_is_named(classic, tmp_path):
    if get_decoder(HTJ2KLossless).is_available:
        pytest.skip("a decoder of HTJ2K is installed")

    def pack(made):
        made.PixelData = encapsulate([b"\0" * 64] * 6)
        made.file_meta.TransferSyntaxUID = HTJ2KLossless

    words = r"\(pylibjpeg - requires .*install a decoder of High-Throughput JPEG 2000"
    refused(tmp_path, slices_of(classic), words, change=pack)


def test_a_frame_whose_slope_is_no_number_is_named(classic, tmp_path):
    scales = [SHIFT, SHIFT, (float("nan"), 0.0), SHIFT, SHIFT, SHIFT]
    path = write_enhanced(tmp_path / "e/x.dcm", slices_of(classic), scales)
    with pytest.raises(FormatError, match=r"x\.dcm: frame 3: RescaleSlope is nan"):
        read_volume(path.parent)
