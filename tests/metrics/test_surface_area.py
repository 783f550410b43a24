import numpy as np
import pytest
from scipy.spatial.distance import cdist

from medseg.geometry.volume import Grid
from medseg.metrics.surface_area import area_distances, corner_codes, element_sizes
from tests.metrics.test_surface import grid_of, random_masks, shapes_2d, shapes_3d


def test_the_2d_shape_worked_in_the_reference():
    pred, label = shapes_2d()
    found = area_distances(pred, label, grid_of(pred, (2.0, 1.0)))
    assert found.nsd(1.0) == pytest.approx(0.6458568541, abs=1e-10)
    assert found.nsd(2.0) == pytest.approx(0.9407007562, abs=1e-10)
    assert found.asd() == pytest.approx(1.464276, abs=5e-7)
    assert found.asd_back() == pytest.approx(0.935134, abs=5e-7)
    assert found.hd_percentile(95) == pytest.approx(6.0827625303, abs=1e-10)


def test_the_3d_shape_worked_in_the_reference():
    pred, label = shapes_3d()
    found = area_distances(pred, label, grid_of(pred, (3.0, 1.0, 1.0)))
    assert found.nsd(1.0) == pytest.approx(0.9051194112, abs=1e-10)


def test_the_outline_of_a_rectangle_has_its_length():
    """3 x 4 pixels: straight sides of 2 and 3 steps, four cut corners."""
    mask = np.ones((3, 4), dtype=bool)
    found = area_distances(mask, mask, grid_of(mask, (2.0, 1.0)))
    expected = 2 * 2 * 2.0 + 2 * 3 * 1.0 + 4 * np.hypot(1.0, 0.5)
    assert found.pred_area.sum() == pytest.approx(expected)


def test_the_surface_of_a_block_has_its_area():
    """Flat faces, edges cut at 45 degrees, corners cut to triangles; unit spacing."""
    a, b, c = 2, 3, 4  # steps between the outer voxels
    mask = np.ones((a + 1, b + 1, c + 1), dtype=bool)
    found = area_distances(mask, mask, grid_of(mask, (1.0, 1.0, 1.0)))
    flat = 2 * (a * b + a * c + b * c)
    edges = 4 * (a + b + c) * np.sqrt(0.5)
    corners = 8 * np.sqrt(3) / 8
    assert found.label_area.sum() == pytest.approx(flat + edges + corners)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("spacing", [(2.0, 0.9), (3.0, 1.3, 0.7)])
def test_the_sizes_of_all_codes_are_those_of_deepmind(spacing):
    utils = pytest.importorskip("monai.metrics.utils")
    theirs = np.asarray(utils.get_code_to_measure_table(spacing)[0], dtype=np.float64)
    ours = element_sizes(np.diag(spacing))
    bits = 2 ** len(spacing)
    turned = [int(f"{code:0{bits}b}"[::-1], 2) for code in range(2**bits)]
    np.testing.assert_allclose(ours[turned], theirs, rtol=1e-6)  # theirs are float32


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("ndim", [2, 3])
def test_agrees_with_monais_subvoxel_surface_dice(ndim):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    rng = np.random.default_rng(ndim)
    spacing = (2.0, 1.0, 0.7)[:ndim]
    for _ in range(5):
        pred, label = rng.random((2, 9, 8, 7)[: ndim + 1]) < 0.4
        both = [torch.from_numpy(m)[None, None].float() for m in (pred, label)]
        theirs = metrics.compute_surface_dice(
            *both,
            class_thresholds=[0.9],
            include_background=True,
            spacing=spacing,
            use_subvoxels=True,
        )
        ours = area_distances(pred, label, grid_of(pred, spacing)).nsd(0.9)
        assert ours == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_agrees_with_all_pairs_on_random_masks(ndim):
    for pred, label, spacing in random_masks(ndim, 60):
        sizes = element_sizes(np.diag(spacing))
        codes = [corner_codes(mask) for mask in (pred, label)]
        edges = [(c > 0) & (c < len(sizes) - 1) for c in codes]
        table = cdist(*[np.argwhere(e) * spacing for e in edges])
        areas = [sizes[c[e]] for c, e in zip(codes, edges, strict=True)]
        within = [table.min(axis=1 - i) <= 1.7 for i in (0, 1)]
        share = sum(a[w].sum() for a, w in zip(areas, within, strict=True))
        found = area_distances(pred, label, grid_of(pred, spacing))
        assert found.nsd(1.7) == pytest.approx(share / sum(a.sum() for a in areas), abs=1e-9)
        assert found.asd() == pytest.approx(
            (table.min(axis=1) * areas[0]).sum() / areas[0].sum(), abs=1e-9
        )
        assert found.asd_back() == pytest.approx(
            (table.min(axis=0) * areas[1]).sum() / areas[1].sum(), abs=1e-9
        )


@pytest.mark.parametrize(
    ("shapes", "spacing"), [(shapes_2d, (2.0, 1.0)), (shapes_3d, (3.0, 1.0, 0.5))]
)
def test_permuted_axes_padding_and_swap_change_nothing(shapes, spacing):
    pred, label = shapes()
    expected = area_distances(pred, label, grid_of(pred, spacing)).nsd(1.0)
    order = tuple(np.roll(np.arange(pred.ndim), 1))
    turned_spacing = [spacing[axis] for axis in order]
    variants = [
        (pred.transpose(order), label.transpose(order), turned_spacing),
        (np.pad(pred, 3), np.pad(label, 3), spacing),
        (np.asfortranarray(pred), np.asfortranarray(label), spacing),
        (label, pred, spacing),
    ]
    for one, other, steps in variants:
        assert area_distances(one, other, grid_of(one, steps)).nsd(1.0) == pytest.approx(expected)


def test_an_oblique_grid_has_the_same_areas():
    pred, label = shapes_3d()
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([3.0, 1.0, 0.5])
    straight = area_distances(pred, label, grid_of(pred, (3.0, 1.0, 0.5)))
    oblique = area_distances(pred, label, Grid.of(pred.shape, affine))
    assert oblique.pred_area.sum() == pytest.approx(straight.pred_area.sum())
    assert oblique.nsd(1.0) == pytest.approx(straight.nsd(1.0))


def test_an_empty_mask_is_refused():
    full = np.ones((3, 3), dtype=bool)
    with pytest.raises(ValueError, match="not empty"):
        area_distances(full, ~full, grid_of(full, (1.0, 1.0)))
