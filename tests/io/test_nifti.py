from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import FormatError
from medseg.geometry.volume import Volume
from medseg.io.nifti import read_nifti, write_nifti

AFFINE = np.array([[-0.7, 0, 0.1, 30], [0, 0.9, 0, -12.5], [0.1, 0, 2.5, 4], [0, 0, 0, 1.0]])


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        (np.array([0, 255], np.int16), np.uint8),
        (np.array([0, 256], np.int32), np.int16),
        (np.array([-1, 3], np.int64), np.int16),
        (np.array([0, 70000], np.int64), np.int32),
        (np.array([False, True]), np.uint8),
        (np.array([0.5, 1.5], np.float64), np.float32),
    ],
)
def test_smallest_type_is_stored_on_exactly_the_grid(tmp_path, values, stored):
    data = np.zeros((1, 3, 4, 2), values.dtype)
    data[0, 1, 2] = values
    path = write_nifti(tmp_path / "x.nii.gz", Volume(data=data, affine=AFFINE))
    image = nib.load(path)
    assert image.get_data_dtype() == stored
    assert (image.shape, image.header["sform_code"], image.header["qform_code"]) == (
        (3, 4, 2),
        1,
        1,
    )
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(image.affine, AFFINE.astype(np.float32))
    again = read_nifti(path)
    np.testing.assert_array_equal(again.data, data)
    assert again.data.dtype == stored


def test_values_that_fit_no_type_are_refused(tmp_path):
    data = np.full((1, 2, 2, 2), 2**40)
    with pytest.raises(ValueError, match="do not fit int32"):
        write_nifti(tmp_path / "x.nii", Volume(data=data, affine=np.eye(4)))
    with pytest.raises(ValueError, match="write_image_png"):
        write_nifti(tmp_path / "x.nii", Volume(data=data[..., 0], affine=np.eye(3)))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 4), (1, 3, 4, 1)), ((3, 4, 2, 5), (5, 3, 4, 2)), ((3, 4, 2, 1, 6), (6, 3, 4, 2))],
)
def test_further_axes_are_channels(tmp_path, shape, expected):
    data = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "x.nii")
    volume = read_nifti(tmp_path / "x.nii")
    assert volume.data.shape == expected
    if len(shape) == 4:
        np.testing.assert_array_equal(volume.data[3], data[..., 3])
        again = write_nifti(tmp_path / "y.nii", volume)
        np.testing.assert_array_equal(np.asarray(nib.load(again).dataobj), data)


def test_scaled_and_rgb_values(tmp_path):
    image = nib.Nifti1Image(np.array([[[1, 2]]], np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "scaled.nii")
    stored = nib.load(tmp_path / "scaled.nii")
    volume = read_nifti(tmp_path / "scaled.nii")
    np.testing.assert_allclose(volume.data[0], stored.get_fdata())
    assert volume.data.dtype == np.float32

    rgb = np.zeros((2, 2, 1), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"] = 7
    nib.save(nib.Nifti1Image(rgb, np.eye(4)), tmp_path / "rgb.nii")
    assert read_nifti(tmp_path / "rgb.nii").data[:, 0, 0, 0].tolist() == [0, 7, 0]


def test_big_endian_file_is_read_in_native_order(tmp_path):
    data = np.arange(8, dtype=">i2").reshape(2, 2, 2)
    nib.save(nib.Nifti1Image(data, np.eye(4), nib.Nifti1Header(endianness=">")), tmp_path / "x.nii")
    volume = read_nifti(tmp_path / "x.nii")
    assert volume.data.dtype.isnative
    np.testing.assert_array_equal(volume.data[0], data)


def test_affine_without_codes_is_nibabels(tmp_path):
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), None)
    image.header.set_zooms((1.0, 2.0, 3.0))
    nib.save(image, tmp_path / "x.nii")
    np.testing.assert_array_equal(
        read_nifti(tmp_path / "x.nii").affine, nib.load(tmp_path / "x.nii").affine
    )
    assert read_nifti(tmp_path / "x.nii").spacing == (1.0, 2.0, 3.0)


def test_all_zero_sform_falls_back_to_the_qform_with_a_warning(tmp_path, caplog):
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), None)
    image.set_qform(np.diag([2.0, 2.0, 3.0, 1.0]), code=1)
    nib.save(image, tmp_path / "x.nii")
    stored = bytearray((tmp_path / "x.nii").read_bytes())
    stored[280:328] = bytes(48)  # srow_x, srow_y, srow_z
    stored[254:256] = b"\1\0"  # sform_code
    (tmp_path / "x.nii").write_bytes(stored)
    assert read_nifti(tmp_path / "x.nii").spacing == (2.0, 2.0, 3.0)
    assert "its qform is used" in caplog.text


def test_singular_affine_is_refused(tmp_path):
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), None)
    image.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    nib.save(image, tmp_path / "x.nii")
    with pytest.raises(FormatError, match="singular"):
        read_nifti(tmp_path / "x.nii")


@pytest.mark.parametrize("keep", [20, 200, 3000])
def test_truncated_gzip_is_refused_wherever_it_is_cut(tmp_path, keep):
    data = np.random.default_rng(0).integers(0, 999, (16, 16, 16)).astype(np.int16)
    path = write_nifti(tmp_path / "x.nii.gz", Volume(data=data[np.newaxis], affine=np.eye(4)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match=r"x\.nii\.gz: cannot be read as NIfTI.*cut short"):
        read_nifti(path)


def test_damaged_and_foreign_files_are_refused(tmp_path):
    plain = tmp_path / "x.nii"
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.eye(4)), plain)
    plain.write_bytes(plain.read_bytes()[:-10])
    (tmp_path / "y.nii").write_text("not an image")
    (tmp_path / "z.nii.gz").write_bytes(gzip.compress(b"not an image"))
    (tmp_path / "w.nii.gz").write_bytes(b"")
    for name in ("x.nii", "y.nii", "z.nii.gz", "w.nii.gz"):
        with pytest.raises(FormatError, match=name):
            read_nifti(tmp_path / name)
