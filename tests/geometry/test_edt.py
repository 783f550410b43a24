from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.geometry import edt
from medseg.geometry.edt import edt_squared, opposite_squared, signed_distance, two_sided
from medseg.geometry.edt_whole import squares_fit, whole_squares

SIZES = {1: ((17,), (0.7,)), 2: ((9, 14), (2.5, 0.8)), 3: ((7, 12, 10), (2.5, 0.8, 1.1))}
NDIM = pytest.mark.parametrize("ndim", [1, 2, 3])
SPACED = pytest.mark.parametrize("spaced", [False, True])
FORMS = pytest.mark.parametrize("form", ["library", "shifts", "dense"])


@pytest.fixture
def run(form, monkeypatch):
    """Return (dtype, tolerance) of the form, made to run."""
    if form == "library":
        return torch.float32, 2e-6
    if form == "dense":  # what accelerators run
        monkeypatch.setattr(edt, "_shifts", edt._dense)
    return torch.float64, 1e-12


def random_masks(ndim: int, count: int, seed: int = 0) -> torch.Tensor:
    """Draw masks from nearly empty to nearly full, touching the edges."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.02, 0.98, (count, *(1,) * ndim))
    return torch.from_numpy(rng.random((count, *SIZES[ndim][0])) < share)


def size(ndim: int, spaced: bool) -> tuple[float, ...]:
    return SIZES[ndim][1] if spaced else (1.0,) * ndim


def scipy_distance(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    if mask.all():
        return np.zeros(mask.shape)  # where scipy measures to a point of its own making
    return ndimage.distance_transform_edt(mask, sampling=spacing)


@FORMS
@NDIM
@SPACED
def test_equals_scipy_on_random_masks(run, ndim, spaced):
    dtype, tolerance = run
    masks, spacing = random_masks(ndim, 40), size(ndim, spaced)
    masks[0], masks[1] = False, True
    inside, outside = two_sided(masks, spacing, dtype=dtype)
    both = opposite_squared(masks, spacing, dtype=dtype)
    one = edt_squared(masks, spacing, dtype=dtype)
    assert inside.dtype == both.dtype == one.dtype == dtype
    for i, mask in enumerate(masks.numpy()):
        want_in, want_out = scipy_distance(mask, spacing), scipy_distance(~mask, spacing)
        np.testing.assert_allclose(inside[i], want_in, rtol=tolerance, atol=1e-15)
        np.testing.assert_allclose(outside[i], want_out, rtol=tolerance, atol=1e-15)
        np.testing.assert_allclose(one[i].sqrt(), want_in, rtol=tolerance, atol=1e-15)
        np.testing.assert_allclose(both[i].sqrt(), want_in + want_out, rtol=tolerance, atol=1e-15)
    expected = torch.where(masks, -inside, outside)
    torch.testing.assert_close(signed_distance(masks, spacing, dtype=dtype), expected)


@FORMS
def test_far_seeds_are_found(run):
    dtype, _ = run
    mask = torch.ones(40, 50, 30, dtype=torch.bool)
    mask[0, 0, 0] = mask[39, 49, 3] = False
    grid = torch.stack(torch.meshgrid(*map(torch.arange, mask.shape), indexing="ij"), -1)
    near = [(grid - torch.tensor(seed)).square().sum(-1) for seed in ((0, 0, 0), (39, 49, 3))]
    found = edt_squared(mask, (1.0, 1.0, 1.0), dtype=dtype)
    assert torch.equal(found.long(), torch.minimum(*near))


@FORMS
@NDIM
def test_a_mask_of_one_value_gives_zero_or_what_is_asked(run, ndim):
    dtype, _ = run
    spacing = size(ndim, True)
    full = torch.ones(SIZES[ndim][0], dtype=torch.bool)
    for mask in (full, ~full):
        assert opposite_squared(mask, spacing, dtype=dtype).eq(0).all()
        assert signed_distance(mask, spacing, dtype=dtype).eq(0).all()
        assert opposite_squared(mask, spacing, undefined=math.inf, dtype=dtype).isinf().all()
    assert edt_squared(full, spacing, dtype=dtype).eq(0).all()
    assert edt_squared(full, spacing, undefined=math.inf, dtype=dtype).isinf().all()
    assert edt_squared(~full, spacing, undefined=math.inf, dtype=dtype).eq(0).all()
    inside, outside = two_sided(~full, spacing, undefined=math.inf, dtype=dtype)
    assert inside.eq(0).all()
    assert outside.isinf().all()
    empty_line = random_masks(ndim, 2)
    empty_line[0] = True  # a full mask in a batch leaves the others alone
    alone = opposite_squared(empty_line[1], spacing, undefined=math.inf, dtype=dtype)
    together = opposite_squared(empty_line, spacing, undefined=math.inf, dtype=dtype)
    assert torch.equal(together[1], alone)


@FORMS
def test_never_measures_across_the_leading_axes(run):
    dtype, _ = run
    masks = random_masks(2, 12).reshape(3, 4, *SIZES[2][0])
    together = opposite_squared(masks, (1.0, 2.0), dtype=dtype)
    for b, c in np.ndindex(3, 4):
        alone = opposite_squared(masks[b, c], (1.0, 2.0), dtype=dtype)
        assert torch.equal(together[b, c], alone)


@FORMS
def test_a_slice_in_3d_is_the_image_in_2d_and_axes_may_swap(run):
    dtype, _ = run
    masks = random_masks(2, 6)
    flat = opposite_squared(masks, (0.8, 1.7), dtype=dtype)
    thick = opposite_squared(masks[:, None], (9.0, 0.8, 1.7), dtype=dtype)
    torch.testing.assert_close(thick[:, 0], flat)
    turned = opposite_squared(masks.mT, (1.7, 0.8), dtype=dtype)  # not contiguous
    torch.testing.assert_close(turned.mT, flat)


@FORMS
def test_one_voxel(run):
    dtype, _ = run
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[2, 3] = True
    inside, outside = two_sided(mask, (2.0, 0.5), dtype=dtype)
    assert inside[2, 3] == 0.5  # the nearest voxel outside is a column away
    assert inside.sum() == 0.5
    assert outside[0, 0].item() == pytest.approx(math.hypot(4, 1.5))


def test_the_stop_is_exact_at_every_distance():
    # A single false voxel at each place: the loop must run as far as that needs.
    for length, place in ((n, p) for n in (2, 9, 10, 17, 18) for p in range(n)):
        mask = torch.ones(length, length, dtype=torch.bool)
        mask[place, length // 2] = False
        want = ndimage.distance_transform_edt(mask.numpy(), sampling=(0.3, 3.0))
        got = edt_squared(mask, (0.3, 3.0), dtype=torch.float64).sqrt()
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("shape", [(9, 6, 14), (1, 12, 5), (33, 2, 40)])
@pytest.mark.parametrize("size", [1.0, 0.7])
def test_whole_squares_and_the_library_are_the_same(shape, size, monkeypatch):
    rng = np.random.default_rng(0)
    share = rng.uniform(0.001, 0.999, (30, 1, 1, 1))
    masks = torch.from_numpy(rng.random((30, *shape)) < share)
    for function in (edt_squared, opposite_squared):
        whole = function(masks, (size,) * 3)
        with monkeypatch.context() as patch:
            patch.setattr(edt, "squares_fit", lambda shape: False)
            library = function(masks, (size,) * 3)
        torch.testing.assert_close(whole, library, rtol=1e-6, atol=0)
        exact = function(masks, (size,) * 3, dtype=torch.float64).float()
        torch.testing.assert_close(whole, exact, rtol=1e-6, atol=0)


def test_whole_squares_reach_across_the_largest_shape():
    shape = (128, 128, 128)
    assert squares_fit(shape)
    assert not squares_fit((129, 129, 129))
    mask = np.ones(shape, dtype=bool)
    mask[0, 0, 0] = False
    lines = np.arange(128) ** 2
    want = lines[:, None, None] + lines[:, None] + lines
    want[0, 0, 0] = 1
    assert np.array_equal(whole_squares(mask, both_sides=True), want)


def test_dense_in_pieces_is_dense_at_once(monkeypatch):
    field = torch.rand(5, 7, 11) * 40
    whole = edt._dense(field, 1.5)
    monkeypatch.setattr(edt, "DENSE_ELEMENTS", 300)
    assert torch.equal(edt._dense(field, 1.5), whole)
    assert torch.equal(edt._shifts(field, 1.5), whole)


def test_wrong_arguments_are_explained():
    mask = torch.ones(4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="bool mask, not torch"):
        edt_squared(mask.float(), (1.0, 1.0))
    with pytest.raises(ValueError, match="positive"):
        edt_squared(mask, (1.0, 0.0))
    with pytest.raises(ValueError, match="3 spatial axes"):
        two_sided(mask, (1.0, 1.0, 1.0))


def test_the_mask_is_left_alone():
    mask = random_masks(3, 3)
    before = mask.clone()
    for dtype in (torch.float32, torch.float64):
        opposite_squared(mask, (1.0, 1.0, 1.0), dtype=dtype)
        edt_squared(mask, (1.0, 1.0, 1.0), dtype=dtype)
    assert torch.equal(mask, before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda_equals_cpu_without_waiting_for_the_host(dtype):
    masks = random_masks(3, 8)
    masks[0], masks[1] = False, True
    on_device = masks.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = opposite_squared(on_device, (2.5, 0.8, 1.1), dtype=dtype)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    want = opposite_squared(masks, (2.5, 0.8, 1.1), dtype=torch.float64).to(dtype)
    torch.testing.assert_close(found.cpu(), want)
