import numpy as np
import pytest
from scipy import ndimage

from medseg.phantom import PhantomSettings, make_phantom

INDICES = range(8)


@pytest.fixture(scope="module")
def cohort():
    return [make_phantom(0, index) for index in INDICES]


def best_threshold_dice(values, truth):
    """Dice of the one interval of values that fits the truth best, found with the truth known."""
    edges = np.arange(-120, 320, 3)
    inside, _ = np.histogram(values[truth], edges)
    outside, _ = np.histogram(values[~truth], edges)
    tp = np.subtract.outer(np.cumsum([0, *inside]), np.cumsum([0, *inside]))
    fp = np.subtract.outer(np.cumsum([0, *outside]), np.cumsum([0, *outside]))
    dice = 2 * tp / (np.abs(tp) + np.abs(fp) + truth.sum())
    return float(np.tril(dice).max())


def test_threshold_helper_finds_an_interval_that_fits():
    values = np.array([0, 50, 60, 70, 200, 300])
    assert best_threshold_dice(values, np.array([0, 1, 1, 1, 0, 0], dtype=bool)) == 1.0
    gap = np.array([0, 1, 0, 1, 0, 0], dtype=bool)  # 50 to 70 takes 60 too: 2 * 2 / (2 * 2 + 1)
    assert best_threshold_dice(values, gap) == pytest.approx(0.8)


def test_same_seed_and_index_give_the_same_voxels(cohort):
    image, label = make_phantom(0, 3)
    assert np.array_equal(image.data, cohort[3][0].data)
    assert np.array_equal(image.affine, cohort[3][0].affine)
    assert np.array_equal(label, cohort[3][1])


def test_other_seed_or_index_gives_another_patient(cohort):
    other, _ = make_phantom(1, 3)
    shapes = {image.data.shape for image, _ in cohort}
    assert len(shapes) > 4
    assert other.data.shape != cohort[3][0].data.shape or (other.data != cohort[3][0].data).any()


def test_liver_and_tumour_sizes_are_those_of_patients(cohort):
    for image, label in cohort:
        ml = image.grid.voxel_volume_ml
        assert 500 < (label > 0).sum() * ml < 2600
        assert (label == 2).sum() * ml < 400
        assert set(np.unique(label)) <= {0, 1, 2}
    assert sum((label == 2).any() for _, label in cohort) >= 5


def test_spacing_is_anisotropic_and_varies(cohort):
    spacings = np.array([image.spacing for image, _ in cohort])
    assert (spacings[:, 2] > spacings[:, 0]).all()
    assert np.ptp(spacings[:, 0]) > 0.1


def test_liver_lies_right_and_under_the_right_lung(cohort):
    for image, label in cohort:
        places = np.argwhere(label > 0) @ np.diag(image.spacing) + image.affine[:3, 3]
        lung = np.argwhere(image.data[0] < -700)
        assert places.mean(0)[0] > 20  # RAS+: x grows to the right
        assert (lung[:, 2] * image.spacing[2] + image.affine[2, 3]).max() > places[:, 2].max()


def test_tissues_have_their_hounsfield_units(cohort):
    for image, label in cohort:
        hounsfield = image.data[0]
        inner = ndimage.binary_erosion(label == 1, iterations=2)
        assert 30 < np.median(hounsfield[inner]) < 130
        assert np.median(hounsfield[:, :4]) < -900  # beside the patient
        assert (hounsfield > 300).sum() > 100  # bone
        assert hounsfield.min() >= -1024
        tumour = ndimage.binary_erosion(label == 2)
        if tumour.sum() > 20:
            assert np.median(hounsfield[tumour]) < np.median(hounsfield[inner]) - 10


@pytest.mark.parametrize("smooth", [0, 0.7, 1.5])
def test_no_threshold_finds_the_liver(cohort, smooth):
    scores = []
    for image, label in cohort:
        values = image.data[0].astype(np.float32)
        values = ndimage.gaussian_filter(values, smooth) if smooth else values
        scores.append(best_threshold_dice(values, label > 0))
    assert max(scores) < 0.75


def test_largest_component_after_a_threshold_does_not_find_the_liver(cohort):
    scores = []
    for image, label in cohort:
        values = ndimage.median_filter(image.data[0], 3)
        liver = np.median(values[label == 1])
        parts, _ = ndimage.label(np.abs(values - liver) < 25)
        largest = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
        scores.append(2 * (largest & (label > 0)).sum() / (largest.sum() + (label > 0).sum()))
    assert np.mean(scores) < 0.75


def test_settings_decide_grid_and_noise_but_not_the_patient():
    fine = PhantomSettings(
        in_plane_mm=(2.5, 2.5), slice_mm=(4, 4), height_mm=(160, 160), noise_hu=(1, 1)
    )
    coarse = PhantomSettings(
        in_plane_mm=(5, 5), slice_mm=(8, 8), height_mm=(160, 160), noise_hu=(1, 1)
    )
    (a, label_a), (b, label_b) = make_phantom(4, 1, fine), make_phantom(4, 1, coarse)
    assert a.spacing == pytest.approx((2.5, 2.5, 4))
    assert b.data.shape[3] == 20
    volume_a = (label_a > 0).sum() * a.grid.voxel_volume_ml
    volume_b = (label_b > 0).sum() * b.grid.voxel_volume_ml
    assert volume_a == pytest.approx(volume_b, rel=0.03)
