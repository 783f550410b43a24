import numpy as np
import pytest
from scipy.spatial.distance import cdist

from medseg.geometry.volume import Grid
from medseg.metrics.surface import border, surface_distances


def grid_of(mask, spacing):
    return Grid.of(mask.shape, np.diag([*spacing, 1.0]))


def shapes_2d():
    label, pred = np.zeros((2, 12, 12), dtype=bool)
    label[2:8, 3:9] = True
    pred[2:8, 4:11] = True
    pred[10, 1] = True
    return pred, label


def shapes_3d():
    label, pred = np.zeros((2, 10, 14, 14), dtype=bool)
    label[3:7, 4:10, 4:10] = True
    pred[2:7, 5:11, 4:10] = True
    return pred, label


def brute_force(pred, label, spacing):
    """Directed distances between all border voxels, by the definition."""
    from scipy import ndimage

    cross = ndimage.generate_binary_structure(pred.ndim, 1)
    points = [
        np.argwhere(m & ~ndimage.binary_erosion(m, cross)) * np.array(spacing)
        for m in (pred, label)
    ]
    table = cdist(*points)
    return table.min(axis=1), table.min(axis=0)


def test_the_2d_shape_worked_in_the_reference():
    pred, label = shapes_2d()
    found = surface_distances(pred, label, grid_of(pred, (2.0, 1.0)))
    assert found.pred_to_label.size == 23
    assert found.label_to_pred.size == 20
    assert found.hd() == pytest.approx(6.3245553203, abs=1e-10)
    assert found.hd_percentile(95) == pytest.approx(2.0, abs=1e-10)
    assert found.assd() == pytest.approx(0.8912687284, abs=1e-10)
    assert found.pred_to_label.mean() == pytest.approx(1.0575893618, abs=1e-10)
    assert found.nsd(1.0) == pytest.approx(0.7441860465, abs=1e-10)
    assert found.nsd(2.0) == pytest.approx(0.9767441860, abs=1e-10)


def test_the_3d_shape_worked_in_the_reference():
    pred, label = shapes_3d()
    found = surface_distances(pred, label, grid_of(pred, (3.0, 1.0, 1.0)))
    assert (found.pred_to_label.size, found.label_to_pred.size) == (132, 112)
    assert found.hd() == pytest.approx(3.1622776602, abs=1e-10)
    assert found.hd_percentile(95) == pytest.approx(3.0, abs=1e-10)
    assert found.assd() == pytest.approx(0.7908756802, abs=1e-10)
    assert found.nsd(1.0) == pytest.approx(0.8360655738, abs=1e-10)


def test_the_image_edge_is_a_border():
    mask = np.zeros((8, 8), dtype=bool)
    mask[0:4, 0:4] = True
    assert border(mask).sum() == 12


def test_one_voxel_is_its_own_border():
    mask = np.zeros((3, 3, 3), dtype=bool)
    mask[1, 1, 1] = True
    np.testing.assert_array_equal(border(mask), mask)


@pytest.mark.parametrize(("ndim", "runs"), [(2, 60), (3, 60)])
def test_agrees_with_all_pairs_on_random_masks(ndim, runs):
    rng = np.random.default_rng(ndim)
    for _ in range(runs):
        shape = rng.integers(2, 9, ndim)
        spacing = rng.uniform(0.3, 4.0, ndim)
        pred, label = rng.random((2, *shape)) < rng.uniform(0.1, 0.9)
        pred.flat[rng.integers(pred.size)] = label.flat[rng.integers(pred.size)] = True
        found = surface_distances(pred, label, grid_of(pred, spacing))
        forth, back = brute_force(pred, label, spacing)
        np.testing.assert_allclose(found.pred_to_label, forth, atol=1e-9, rtol=0)
        np.testing.assert_allclose(found.label_to_pred, back, atol=1e-9, rtol=0)
        q95 = max(np.percentile(forth, 95), np.percentile(back, 95))
        assert found.hd_percentile(95) == pytest.approx(q95, abs=1e-9)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("shape", [(9, 10), (7, 8, 6)])
def test_agrees_with_monai_on_random_masks(shape):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    rng = np.random.default_rng(7)
    spacing = (2.0, 1.0, 0.7)[: len(shape)]
    for _ in range(5):
        pred, label = rng.random((2, *shape)) < 0.3
        both = [torch.from_numpy(m)[None, None].float() for m in (pred, label)]
        found = surface_distances(pred, label, grid_of(pred, spacing))
        options = {"include_background": True, "spacing": spacing}
        hd95 = metrics.compute_hausdorff_distance(*both, percentile=95, **options)
        assd = metrics.compute_average_surface_distance(*both, symmetric=True, **options)
        nsd = metrics.compute_surface_dice(*both, class_thresholds=[1.1], **options)
        assert found.hd_percentile(95) == pytest.approx(hd95.item(), abs=1e-4)
        assert found.assd() == pytest.approx(assd.item(), abs=1e-4)
        assert found.nsd(1.1) == pytest.approx(nsd.item(), abs=1e-4)


@pytest.mark.parametrize(
    ("shapes", "spacing"), [(shapes_2d, (2.0, 1.0)), (shapes_3d, (3.0, 1.0, 0.5))]
)
def test_permuted_axes_flips_padding_and_swap_change_nothing(shapes, spacing):
    pred, label = shapes()
    found = surface_distances(pred, label, grid_of(pred, spacing))
    expected = found.hd(), found.hd_percentile(), found.assd(), found.nsd(1.0)
    order = tuple(np.roll(np.arange(pred.ndim), 1))
    turned_spacing = tuple(np.array(spacing)[list(order)])
    variants = [
        (pred.transpose(order), label.transpose(order), turned_spacing),
        (np.flip(pred, 0), np.flip(label, 0), spacing),
        (np.pad(pred, 3), np.pad(label, 3), spacing),
        (label, pred, spacing),
        (np.asfortranarray(pred), np.asfortranarray(label), spacing),
    ]
    for other_pred, other_label, other_spacing in variants:
        other = surface_distances(other_pred, other_label, grid_of(other_pred, other_spacing))
        values = other.hd(), other.hd_percentile(), other.assd(), other.nsd(1.0)
        assert values == pytest.approx(expected, abs=1e-12)


def test_distances_grow_with_the_spacing():
    pred, label = shapes_3d()
    small = surface_distances(pred, label, grid_of(pred, (3.0, 1.0, 1.0)))
    large = surface_distances(pred, label, grid_of(pred, (7.5, 2.5, 2.5)))
    np.testing.assert_allclose(large.pred_to_label, 2.5 * small.pred_to_label, atol=1e-12)


def test_an_oblique_grid_measures_the_same_as_a_straight_one():
    pred, label = shapes_3d()
    axis, angle = np.array([1.0, 2.0, 3.0]) / np.sqrt(14.0), 0.7
    cross = np.cross(np.eye(3), axis)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([3.0, 1.0, 1.0])
    straight = surface_distances(pred, label, grid_of(pred, (3.0, 1.0, 1.0)))
    oblique = surface_distances(pred, label, Grid.of(pred.shape, affine))
    np.testing.assert_allclose(oblique.pred_to_label, straight.pred_to_label, atol=1e-12)
    assert oblique.nsd(1.0) == straight.nsd(1.0)


def test_a_tolerance_equal_to_a_distance_counts_as_within():
    """5 * 1.3 - 4 * 1.3 is 1.3000000000000003 in floating point."""
    pred, label = np.zeros((2, 8, 1), dtype=bool)
    pred[5], label[4] = True, True
    found = surface_distances(pred, label, grid_of(pred, (1.3, 1.0)))
    assert found.nsd(1.3) == 1.0
    assert found.nsd(1.29) == 0.0


def test_an_empty_mask_is_refused():
    full = np.ones((3, 3), dtype=bool)
    with pytest.raises(ValueError, match="not empty"):
        surface_distances(full, ~full, grid_of(full, (1.0, 1.0)))


def test_masks_of_different_shapes_are_refused():
    mask = np.ones((3, 3), dtype=bool)
    with pytest.raises(ValueError, match="must be equal"):
        surface_distances(mask, mask[:2], grid_of(mask, (1.0, 1.0)))


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_agrees_with_monai_on_a_real_label(data_root):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    nib = pytest.importorskip("nibabel")
    file = sorted((data_root / "hippocampus").rglob("labelsTr/[!.]*.nii.gz"))[0]
    image = nib.load(file)
    values = np.asarray(image.dataobj)
    spacing = tuple(float(s) for s in image.header.get_zooms())
    label = values == 1
    pred = np.roll(label, (1, -2), axis=(0, 1)) | np.roll(label, 1, axis=2)
    both = [torch.from_numpy(m)[None, None].float() for m in (pred, label)]
    options = {"include_background": True, "spacing": spacing}
    found = surface_distances(pred, label, grid_of(pred, spacing))
    hd95 = metrics.compute_hausdorff_distance(*both, percentile=95, **options)
    assd = metrics.compute_average_surface_distance(*both, symmetric=True, **options)
    nsd = metrics.compute_surface_dice(*both, class_thresholds=[1.0], **options)
    assert found.hd_percentile(95) == pytest.approx(hd95.item(), abs=1e-4)
    assert found.assd() == pytest.approx(assd.item(), abs=1e-4)
    assert found.nsd(1.0) == pytest.approx(nsd.item(), abs=1e-4)
