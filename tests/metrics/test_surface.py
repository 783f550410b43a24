import numpy as np
import pytest
from scipy.spatial.distance import cdist

from medseg.geometry.volume import Grid
from medseg.metrics.surface import border, case_surfaces, surface_distances


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


def brute_force(pred, label, spacing, border_value=0):
    """Directed distances between all border voxels, by the definition."""
    from scipy import ndimage

    cross = ndimage.generate_binary_structure(pred.ndim, 1)
    points = [
        np.argwhere(m & ~ndimage.binary_erosion(m, cross, border_value=border_value))
        * np.array(spacing)
        for m in (pred, label)
    ]
    if not (len(points[0]) and len(points[1])):
        return np.zeros(len(points[0])), np.zeros(0)
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
    assert found.masd() == pytest.approx(0.8787946809, abs=1e-10)
    assert found.asd() == pytest.approx(1.0575893618, abs=1e-10)
    assert found.nsd(1.0) == pytest.approx(0.7441860465, abs=1e-10)
    assert found.nsd(2.0) == pytest.approx(0.9767441860, abs=1e-10)


def test_the_3d_shape_worked_in_the_reference():
    pred, label = shapes_3d()
    found = surface_distances(pred, label, grid_of(pred, (3.0, 1.0, 1.0)))
    assert (found.pred_to_label.size, found.label_to_pred.size) == (132, 112)
    assert found.hd() == pytest.approx(3.1622776602, abs=1e-10)
    assert found.hd_percentile(95) == pytest.approx(3.0, abs=1e-10)
    assert found.assd() == pytest.approx(0.7908756802, abs=1e-10)
    assert found.masd() == pytest.approx(0.7661340160, abs=1e-10)
    assert found.nsd(1.0) == pytest.approx(0.8360655738, abs=1e-10)


def test_the_image_edge_is_a_border():
    mask = np.zeros((8, 8), dtype=bool)
    mask[0:4, 0:4] = True
    assert border(mask).sum() == 12


def test_one_voxel_is_its_own_border():
    mask = np.zeros((3, 3, 3), dtype=bool)
    mask[1, 1, 1] = True
    np.testing.assert_array_equal(border(mask), mask)


def random_masks(ndim, runs):
    """Random small masks with anisotropic spacing; some touch the edges, some are one voxel."""
    rng = np.random.default_rng(ndim)
    for run in range(runs):
        shape = rng.integers(1, (40, 14, 9)[ndim - 1], ndim)
        spacing = rng.uniform(0.3, 4.0, ndim)
        pred, label = rng.random((2, *shape)) < rng.uniform(0.02, 0.95)
        if run % 3 == 0:  # far apart: the search beyond the ball
            spacing[0] *= 30.0
        pred.flat[rng.integers(pred.size)] = label.flat[rng.integers(pred.size)] = True
        yield pred, label, spacing


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_agrees_with_all_pairs_on_200_random_masks(ndim):
    for pred, label, spacing in random_masks(ndim, 200):
        found = surface_distances(pred, label, grid_of(pred, spacing))
        forth, back = brute_force(pred, label, spacing)
        both = np.concatenate([forth, back])
        np.testing.assert_allclose(found.pred_to_label, forth, atol=1e-9, rtol=0)
        np.testing.assert_allclose(found.label_to_pred, back, atol=1e-9, rtol=0)
        expected = {
            "hd": both.max(),
            "hd95": max(np.percentile(forth, 95), np.percentile(back, 95)),
            "hd30": max(np.percentile(forth, 30), np.percentile(back, 30)),
            "pooled": np.percentile(both, 95),
            "assd": both.mean(),
            "masd": (forth.mean() + back.mean()) / 2,
            "asd": forth.mean(),
            "asd_back": back.mean(),
            "nsd": (both <= 1.7).mean(),
        }
        values = {
            "hd": found.hd(),
            "hd95": found.hd_percentile(95),
            "hd30": found.hd_percentile(30),
            "pooled": found.hd_percentile(95, pooled=True),
            "assd": found.assd(),
            "masd": found.masd(),
            "asd": found.asd(),
            "asd_back": found.asd_back(),
            "nsd": found.nsd(1.7),
        }
        assert values == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_with_foreground_outside_agrees_with_all_pairs(ndim):
    compared = 0
    for pred, label, spacing in random_masks(ndim, 60):
        forth, back = brute_force(pred, label, spacing, border_value=1)
        if not (forth.size and back.size):
            with pytest.raises(ValueError, match="no border"):
                surface_distances(pred, label, grid_of(pred, spacing), outside="foreground")
            continue
        found = surface_distances(pred, label, grid_of(pred, spacing), outside="foreground")
        np.testing.assert_allclose(found.pred_to_label, forth, atol=1e-9, rtol=0)
        np.testing.assert_allclose(found.label_to_pred, back, atol=1e-9, rtol=0)
        compared += 1
    assert compared > 20


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


def test_a_far_outlier_and_a_shift_agree_with_all_pairs():
    """Long ways: the search beyond the ball of offsets, in both directions."""
    rng = np.random.default_rng(3)
    label = np.zeros((60, 70, 50), dtype=bool)
    label[20:40, 30:50, 25:45] = rng.random((20, 20, 20)) < 0.8
    pred = np.roll(label, (15, -9, 4), axis=(0, 1, 2))
    pred[:3, :3, :3] = True
    spacing = (2.5, 0.7, 0.7)
    found = surface_distances(pred, label, grid_of(pred, spacing))
    forth, back = brute_force(pred, label, spacing)
    np.testing.assert_allclose(found.pred_to_label, forth, atol=1e-9, rtol=0)
    np.testing.assert_allclose(found.label_to_pred, back, atol=1e-9, rtol=0)


def labelled_maps(rng, classes, dtype, shape=(11, 12, 9)):
    pred, label = rng.integers(-1 if dtype != np.uint8 else 0, classes + 1, (2, *shape))
    keep = rng.random((2, *shape)) < 0.3
    pred, label = pred * keep[0], label * keep[1]
    pred[pred == 2] = 0
    return np.maximum(pred, 0).astype(dtype), label.astype(dtype)


@pytest.mark.parametrize("classes", [3, 9])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
@pytest.mark.parametrize("layout", ["C", "F", "turned"])
def test_all_labels_in_one_pass_equal_the_loop_over_labels(classes, dtype, layout):
    pred, label = labelled_maps(np.random.default_rng(5), classes, dtype)
    grid = grid_of(label, (3.0, 1.0, 0.7))
    laid_pred, laid_label = pred, label
    if layout == "F":
        laid_pred, laid_label = np.asfortranarray(pred), np.asfortranarray(label)
    if layout == "turned":  # like an image turned to RAS+: flipped and permuted in memory
        laid_pred = np.ascontiguousarray(pred.transpose(2, 0, 1)[::-1])[::-1].transpose(1, 2, 0)
    structures = [(k,) for k in range(1, classes + 1)] + [(1, 3), (classes + 1,)]
    results = list(case_surfaces(laid_pred, laid_label, structures, grid))
    assert results[1] is None
    assert results[-1] is None
    for structure, found in zip(structures, results, strict=True):
        one, other = np.isin(pred, structure) & (label != -1), np.isin(label, structure)
        if found is None:
            assert not (one.any() and other.any())
            continue
        expected = surface_distances(one, other, grid)
        np.testing.assert_array_equal(np.sort(found.pred_to_label), np.sort(expected.pred_to_label))
        np.testing.assert_array_equal(np.sort(found.label_to_pred), np.sort(expected.label_to_pred))


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


@pytest.mark.data
def test_the_chaos_reference_submission_scores_as_the_challenge_says(data_root):
    from medseg.geometry.volume import Volume
    from medseg.io.volumes import read_volume
    from medseg.metrics.overlap import dice, overlap_counts
    from medseg.metrics.volume import relative_volume_error

    folder = data_root / "ct_abdomen"
    series = read_volume(folder / "images" / "chaos_ct3")
    assert sorted(series.spacing) == pytest.approx([0.7266, 0.7266, 2.0], abs=1e-4)
    stacks = [folder / "reference_submission" / "chaos_ct3", folder / "labels" / "chaos_ct3"]
    pred, label = (
        Volume(data=read_volume(stack).data != 0, affine=series.affine) for stack in stacks
    )
    pred, label, grid = pred.data[0], label.data[0], series.grid
    assert pred.shape == label.shape == grid.shape
    counts = overlap_counts(pred, label)
    assert dice(counts) == pytest.approx(0.97843, abs=5e-6)
    error = relative_volume_error(np.count_nonzero(pred), np.count_nonzero(label))
    assert 100 * abs(error) == pytest.approx(0.66453, abs=5e-6)
    challenge = surface_distances(pred, label, grid, outside="foreground")
    assert challenge.assd() == pytest.approx(0.73413, abs=5e-6)
    assert challenge.hd() == pytest.approx(14.0, abs=1e-6)
    ours = surface_distances(pred, label, grid)
    assert ours.assd() == pytest.approx(0.7129, abs=5e-5)  # the cut liver's last slice is a border
    assert ours.hd() == pytest.approx(14.0, abs=1e-6)
    assert ours.hd_percentile(95) == pytest.approx(3.6328125, abs=1e-6)
    assert ours.nsd(2.0) == pytest.approx(0.9322741, abs=1e-6)
