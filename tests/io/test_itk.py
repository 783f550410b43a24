from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from medseg.errors import FormatError
from medseg.geometry.volume import Volume
from medseg.io.itk import read_itk
from medseg.io.nifti import read_nifti, write_nifti

OBLIQUE = np.array(
    [[0.8, -0.36, 0.0, -30], [0.48, 0.6, 0.0, 12], [0.0, 0.0, 2.5, 7], [0, 0, 0, 1.0]]
)


def itk_image(data: np.ndarray, affine: np.ndarray) -> SimpleITK.Image:
    """Build an ITK image from (I, J, K) voxels and a RAS affine, by hand."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("affine", [np.diag([-1.0, -1.0, 2.0, 1.0]), OBLIQUE])
def test_nrrd_and_mha_agree_with_nifti_in_world_space(tmp_path, suffix, affine):
    data = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    SimpleITK.WriteImage(itk_image(data, affine), str(tmp_path / f"x{suffix}"))
    volume = read_itk(tmp_path / f"x{suffix}")
    nifti = read_nifti(
        write_nifti(tmp_path / "x.nii", Volume(data=data[np.newaxis], affine=affine))
    )
    np.testing.assert_array_equal(volume.data, nifti.data)
    np.testing.assert_allclose(volume.affine, nifti.affine, atol=1e-5)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)


def test_vector_voxels_and_fourth_axis_are_channels(tmp_path):
    data = np.arange(2 * 3 * 4 * 5, dtype=np.float64).reshape(2, 3, 4, 5)
    parts = [itk_image(c, OBLIQUE) for c in data]
    SimpleITK.WriteImage(SimpleITK.Compose(parts), str(tmp_path / "v.nrrd"))
    SimpleITK.WriteImage(SimpleITK.JoinSeries(parts), str(tmp_path / "t.mha"))
    for name in ("v.nrrd", "t.mha"):
        volume = read_itk(tmp_path / name)
        np.testing.assert_array_equal(volume.data, data)
        np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-6)
        assert volume.data.dtype == np.float32


def test_flat_image_becomes_one_slice(tmp_path):
    image = SimpleITK.GetImageFromArray(np.arange(6, dtype=np.int16).reshape(2, 3))
    image.SetSpacing((0.5, 0.25))
    SimpleITK.WriteImage(image, str(tmp_path / "x.nrrd"))
    volume = read_itk(tmp_path / "x.nrrd")
    assert volume.data[0, :, :, 0].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert volume.spacing == (0.5, 0.25, 1.0)


def test_truncated_file_is_refused(tmp_path):
    path = tmp_path / "x.nrrd"
    SimpleITK.WriteImage(itk_image(np.zeros((9, 9, 9), np.int16), OBLIQUE), str(path))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match=r"x\.nrrd: cannot be read .*copy it"):
        read_itk(path)


@pytest.mark.data
def test_real_nrrd_label_lies_on_its_ct(data_root):
    from medseg.geometry.orientation import reorient_to
    from medseg.io.volumes import read_volume

    folder = data_root / "dicom_seg/dcmqi"
    ct = read_volume(folder / "ct-3slice")
    mean_hu = {}
    for organ in ("liver", "spine"):
        label = reorient_to(read_volume(folder / f"{organ}_seg.nrrd"), ct.grid)
        mean_hu[organ] = ct.data[label.data > 0].mean()
    assert 20 < mean_hu["liver"] < 80  # unenhanced
    assert mean_hu["spine"] > 150
