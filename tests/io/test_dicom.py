from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import RLELossless

from medseg.errors import FormatError
from medseg.geometry.orientation import axis_codes
from medseg.io.dicom import choose_series, list_series, read_series
from medseg.io.dicom_headers import natural_order
from medseg.io.volumes import read_volume
from tests.io.dicom_series import write_series, write_slice


def sample(columns: int = 4, rows: int = 5, slices: int = 12) -> np.ndarray:
    shape = (columns, rows, slices)
    return np.random.default_rng(3).integers(-900, 900, shape).astype(np.int16)


def itk_world(files: list, data: np.ndarray) -> np.ndarray:
    """Ask ITK's own series reader for the LPS position and value of two voxels."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(f) for f in files])
    image = reader.Execute()
    return np.array(
        [(*image.TransformIndexToPhysicalPoint(v), image[v]) for v in [(1, 2, 3), (3, 4, 6)]]
    )


def test_slices_are_sorted_by_position_and_spacing_ignores_thickness(tmp_path):
    data = sample()
    names = [f"x{(5 * k) % 12}" for k in range(12)]
    folder = write_series(tmp_path / "s", data, step=1.25, names=names, spacing=(0.5, 0.25))
    result = read_series(choose_series(folder, None).files)
    np.testing.assert_array_equal(result.volume.data[0], data)
    assert result.volume.spacing == (0.25, 0.5, 1.25)  # PixelSpacing is (between rows, columns)
    expected = np.diag([-0.25, -0.5, 1.25, 1.0])
    np.testing.assert_allclose(result.volume.affine, expected)
    for file, k in zip(natural_order(folder.iterdir()), result.slice_of_file, strict=True):
        stored = pydicom.dcmread(file)
        assert stored.ImagePositionPatient[2] == k * 1.25


def test_oblique_series_agrees_with_itk(tmp_path):
    turn = 0.3
    along_row = np.array([np.cos(turn), np.sin(turn), 0.0])
    along_column = np.array([-np.sin(turn) * 0.8, np.cos(turn) * 0.8, -0.6])
    normal = np.cross(along_row, along_column)
    data = sample(slices=8)
    for k in range(8):
        write_slice(
            tmp_path / f"f{7 - k}",
            data[:, :, k].T,
            np.array([10.0, -20.0, 5.0]) + 3.5 * k * normal,
            series="1.2.3",
            orientation=(*along_row, *along_column),
            spacing=(0.7, 0.9),
        )
    volume = read_volume(tmp_path)
    np.testing.assert_allclose(volume.spacing, (0.9, 0.7, 3.5), rtol=1e-6)
    by_position = [tmp_path / f"f{7 - k}" for k in range(8)]
    for (x, y, z, value), voxel in zip(
        itk_world(by_position, data), [(1, 2, 3), (3, 4, 6)], strict=True
    ):
        world = volume.affine @ [*voxel, 1]
        np.testing.assert_allclose(world[:3], (-x, -y, z), atol=1e-4)
        assert volume.data[0][voxel] == value


def test_rescale_is_applied_slice_by_slice(tmp_path):
    data = sample(slices=3)
    for k, slope in enumerate((1.0, 2.0, 0.5)):
        write_slice(
            tmp_path / f"{k}",
            data[:, :, k].T,
            (0, 0, k),
            series="1.2",
            slope=slope,
            intercept=-10.0,
        )
    volume = read_volume(tmp_path)
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data[0], data * np.array([1.0, 2.0, 0.5]) - 10.0)


def test_compressed_pixels_equal_plain_ones(tmp_path):
    data = sample(16, 18, 3)  # GDCM refuses RLE images of a few pixels
    folder = write_series(tmp_path / "s", data)
    for path in folder.iterdir():
        stored = pydicom.dcmread(path)
        stored.compress(RLELossless)
        stored.save_as(path)
    np.testing.assert_array_equal(read_volume(folder).data[0], data)


def test_missing_slice_is_named(tmp_path):
    folder = write_series(tmp_path / "s", sample(), skip=[7])
    message = (
        r"s: 1 missing between slice 6 \(slice_6\) and 7 \(slice_8\): 4\.000 mm apart, the others "
        r"2\.000 mm; copy the whole series again"
    )
    with pytest.raises(FormatError, match=message):
        read_volume(folder)


def test_duplicate_position_names_both_files(tmp_path):
    folder = write_series(tmp_path / "s", sample())
    (folder / "copy_of_5").write_bytes((folder / "slice_5").read_bytes())
    with pytest.raises(FormatError, match=r"slice_5.*same position as copy_of_5.*remove the copy"):
        read_volume(folder)


def test_positions_rounded_by_the_export_are_accepted(tmp_path):
    for k, z in enumerate((0.0, 1.3, 2.5, 3.8, 5.0)):
        write_slice(tmp_path / f"{k}", sample(slices=1)[:, :, 0].T, (0, 0, z), series="1.2")
    assert read_volume(tmp_path).spacing == (1.0, 1.0, 1.25)


def test_scout_of_another_orientation_is_named(tmp_path):
    folder = write_series(tmp_path / "s", sample(), series="1.2.3")
    coronal = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    pixels = np.zeros((5, 4), np.int16)
    write_slice(folder / "scout", pixels, (0, 9, 0), series="1.2.3", orientation=coronal)
    with pytest.raises(
        FormatError, match=r"scout: orientation .*\(1 of 13 files differ\).*move it"
    ):
        read_volume(folder)


def test_slices_of_several_sizes_are_refused(tmp_path):
    folder = write_series(tmp_path / "s", sample(), series="1.2.3")
    write_slice(folder / "big", np.zeros((9, 8), np.int16), (0, 0, 24), series="1.2.3")
    with pytest.raises(FormatError, match=r"big: size \(8, 9\) differs from \(4, 5\)"):
        read_volume(folder)


def test_slices_beside_the_line_are_refused(tmp_path):
    for k, x in enumerate((0, 0, 7, 0)):
        write_slice(tmp_path / f"{k}", np.zeros((5, 4), np.int16), (x, 0, 2 * k), series="1.2")
    with pytest.raises(FormatError, match=r"2: stands 7\.00 mm beside the line"):
        read_volume(tmp_path)


def test_two_series_are_listed_and_one_can_be_chosen(tmp_path):
    data = sample()
    write_series(tmp_path, data, series="1.2.3", description="venous")
    write_series(tmp_path, data + 1, series="1.2.4", names=[f"t{k}" for k in range(12)])
    assert {uid: len(s.files) for uid, s in list_series(tmp_path).items()} == {
        "1.2.3": 12,
        "1.2.4": 12,
    }
    with pytest.raises(
        FormatError, match=r"holds 2 DICOM series: 1\.2\.3 \(12 files, CT, venous\);"
    ):
        read_volume(tmp_path)
    np.testing.assert_array_equal(read_volume(tmp_path, series="1.2.4").data[0], data + 1)
    with pytest.raises(FormatError, match=r"has no series 1\.2\.5"):
        read_volume(tmp_path, series="1.2.5")


def test_sub_folders_are_listed_on_request(tmp_path):
    write_series(tmp_path / "p1" / "s1", sample(), series="1.2.3")
    assert list_series(tmp_path) == {}
    (info,) = list_series(tmp_path, recursive=True).values()
    assert (info.uid, info.patient, info.study, info.modality) == ("1.2.3", "P1", "", "CT")


def test_other_files_in_the_folder_are_left_out_but_a_broken_slice_is_not(tmp_path):
    folder = write_series(tmp_path / "s", sample())
    (folder / "README.txt").write_text("notes")
    assert read_volume(folder).data.shape == (1, 4, 5, 12)
    (folder / "zz.dcm").write_bytes(b"")
    with pytest.raises(FormatError, match=r"zz\.dcm: named \.dcm but has no DICOM preamble"):
        read_volume(folder)


def test_cut_pixel_data_is_named(tmp_path):
    folder = write_series(tmp_path / "s", sample(16, 16, 3))
    path = folder / "slice_1"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(FormatError, match="slice_1: pixels cannot be decoded"):
        read_volume(folder)


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        ("ImagePositionPatient", None, r"ImagePositionPatient is None, 3 numbers"),
        ("PixelSpacing", [0.0, 1.0], r"PixelSpacing is \(0\.0, 1\.0\)"),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "not a pair of perpendicular"),
        ("NumberOfFrames", 3, "multi-frame DICOM with 3 frames"),
        ("Modality", "SEG", "modality SEG, not a slice"),
        ("SamplesPerPixel", 3, "colour DICOM"),
    ],
)
def test_slice_that_cannot_be_placed_is_refused(tmp_path, tag, value, message):
    path = write_slice(tmp_path / "x.dcm", np.zeros((5, 4), np.int16), (0, 0, 0), series="1.2")
    header = pydicom.dcmread(path)
    if value is None:
        delattr(header, tag)
    else:
        setattr(header, tag, value)
    header.save_as(path)
    with pytest.raises(FormatError, match=message):
        read_series([path])


def test_single_slice_takes_its_thickness(tmp_path):
    path = write_slice(
        tmp_path / "x.dcm", np.ones((5, 4), np.int16), (0, 0, 0), series="1.2", thickness=3.0
    )
    volume = read_volume(path)
    assert (volume.data.shape, volume.spacing) == ((1, 4, 5, 1), (1.0, 1.0, 3.0))


def test_folder_without_images_says_so(tmp_path):
    with pytest.raises(FormatError, match="holds no DICOM image"):
        read_volume(tmp_path)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape", "spacing"),
    [
        ("dicom/study1_hippocrop", (35, 51, 32), (1, 1, 1)),
        ("dicom/study3_hippocrop", (34, 50, 40), (1, 1, 1)),
        ("dicom/study3_t1post", (280, 320, 22), (0.6875, 0.6875, 6.5)),
    ],
)
def test_real_series_have_their_true_spacing_and_order(data_root, name, shape, spacing):
    volume = read_volume(data_root / name)
    assert volume.grid.shape == shape
    np.testing.assert_allclose(volume.spacing, spacing, atol=1e-4)
    assert axis_codes(volume.affine) == "LPS"
    for file in list((data_root / name).iterdir())[:4]:  # pydicom decodes independently
        stored = pydicom.dcmread(file)
        lps = [float(x) for x in stored.ImagePositionPatient]
        i, j, k, _ = np.linalg.solve(volume.affine, [-lps[0], -lps[1], lps[2], 1])
        assert (abs(i), abs(j)) < (0.05, 0.05)
        np.testing.assert_array_equal(volume.data[0, :, :, round(k)], stored.pixel_array.T)


@pytest.mark.data
def test_oblique_real_series_is_tilted_by_its_angle(data_root):
    affine = read_volume(data_root / "dicom/study3_t1post").affine
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    assert np.degrees(np.arccos(normal[2])) == pytest.approx(10.8, abs=0.05)


@pytest.mark.data
def test_jpeg_2000_agrees_with_gdcm(data_root):
    pytest.importorskip("gdcm", reason="an independent JPEG 2000 decoder is needed to compare")
    folder = data_root / "ct_abdomen/images/ts_dicom20"
    volume = read_volume(folder)
    stored = pydicom.dcmread(natural_order(folder.iterdir())[0])
    expected = stored.pixel_array.T.astype(int) * int(stored.RescaleSlope) + int(
        stored.RescaleIntercept
    )
    np.testing.assert_array_equal(volume.data[0, :, :, -1], expected)  # first file: top slice


@pytest.mark.parametrize("tag", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", ["NaN", "inf"])
def test_a_scale_that_is_no_number_is_refused(tmp_path, tag, value):
    """A decoder passes over it and gives stored values, which are in no unit."""
    path = write_slice(tmp_path / "x.dcm", np.zeros((5, 4), np.int16), (0, 0, 0), series="1.2")
    header = pydicom.dcmread(path)
    with pydicom.config.disable_value_validation():
        setattr(header, tag, value)
        header.save_as(path)
    with pytest.raises(FormatError, match=rf"x\.dcm: .*{tag} is (nan|inf), so the values"):
        read_series([path])
