import gzip

import nibabel as nib
import numpy as np

from medseg.io.nifti_bytes import nifti_gz_bytes

AFFINE = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3.0, 11], [0, 0, 0, 1]])


def read(raw):
    return nib.Nifti1Image.from_bytes(gzip.decompress(raw))


def test_values_scale_and_place_read_back():
    data = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    image = read(nifti_gz_bytes(data, AFFINE, slope=0.5, intercept=-100.0))
    assert np.allclose(image.get_fdata(), data * 0.5 - 100)
    assert np.allclose(image.affine, AFFINE)
    assert image.get_data_dtype() == np.uint8


def test_without_scale_the_values_are_the_stored_ones():
    data = np.full((3, 1, 2), 255, dtype=np.uint8)
    assert (read(nifti_gz_bytes(data, np.eye(4))).get_fdata() == 255).all()


def test_the_same_volume_gives_the_same_bytes():
    data = np.zeros((2, 2, 2), dtype=np.uint8)
    assert nifti_gz_bytes(data, AFFINE) == nifti_gz_bytes(data.copy(), AFFINE.copy())
