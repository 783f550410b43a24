from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from medseg.inference.precision import autocast
from medseg.inference.sliding import pad_to_patch, sliding_window
from medseg.inference.tiles import blending_weights, tile_starts


class Pointwise(nn.Module):
    """Two outputs that depend on each voxel alone."""

    def forward(self, image):
        return torch.cat([image[:, :1] * 2 + 1, -image.sum(1, keepdim=True)], dim=1)


class TileNumber(nn.Module):
    """Fills the n-th tile it sees with n."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, image):
        numbers = torch.arange(self.seen, self.seen + len(image), dtype=torch.float32)
        self.seen += len(image)
        return numbers.reshape(-1, *[1] * (image.ndim - 1)).expand(-1, 1, *image.shape[2:])


class Ramp(nn.Module):
    """Adds the position along the first spatial axis: not the same when flipped."""

    def forward(self, image):
        n = image.shape[2]
        return image[:, :1] + torch.arange(float(n)).reshape(1, 1, n, *[1] * (image.ndim - 3))


def conv_network(ndim, channels=1):
    torch.manual_seed(0)
    conv = nn.Conv2d if ndim == 2 else nn.Conv3d
    return nn.Sequential(conv(channels, 4, 3, padding=1), nn.ReLU(), conv(4, 3, 3, padding=1))


@pytest.mark.parametrize(
    ("size", "patch", "overlap", "starts"),
    [
        (4, 4, 0.5, (0,)),
        (5, 4, 0.5, (0, 1)),
        (8, 4, 0.0, (0, 4)),
        (9, 4, 0.0, (0, 2, 5)),  # ceil(5 / 4) + 1 = 3 tiles over 5 voxels: 0, 2.5, 5
        (10, 4, 0.5, (0, 2, 4, 6)),
        (10, 4, 0.7, (0, 1, 2, 4, 5, 6)),  # step 1.2: 6 / 1.2 = 5 gaps, not 6 by rounding
        (4, 1, 0.9, (0, 1, 2, 3)),  # no tile twice where the step would be below one voxel
    ],
)
def test_tile_starts_by_hand(size, patch, overlap, starts):
    assert tile_starts(size, patch, overlap) == starts


@pytest.mark.parametrize(
    ("size", "patch", "overlap", "starts"),
    [
        (4, 4, 0.5, (0,)),
        (9, 4, 0.5, (0, 2, 4, 5)),
        (9, 4, 0.0, (0, 4, 5)),
        (10, 4, 0.7, (0, 1, 2, 3, 4, 6)),  # multiples of 1.2
        (4, 2, 0.25, (0, 1, 2)),  # of 1.5: no tile twice
    ],
)
def test_tile_starts_in_steps_by_hand(size, patch, overlap, starts):
    assert tile_starts(size, patch, overlap, "steps") == starts


@pytest.mark.parametrize("places", ["even", "steps"])
def test_tiles_reach_both_ends_and_overlap_enough(places):
    for size, patch, overlap in itertools.product(range(5, 40), (2, 3, 5), (0, 0.25, 0.5, 0.75)):
        starts = tile_starts(size, patch, overlap, places)
        steps = np.diff(starts)
        assert starts[0] == 0
        assert starts[-1] == size - patch
        assert all(0 < step <= max(1, np.ceil(patch * (1 - overlap))) for step in steps)


def test_overlap_of_one_is_refused():
    with pytest.raises(ValueError, match="overlap is 1"):
        tile_starts(8, 4, 1.0)


@pytest.mark.parametrize("patch", [(3,), (5, 1), (16, 12), (12, 9, 8)])
def test_blending_weights_are_a_gaussian_with_a_floor(patch):
    """Product of exp(-d^2 / 2 s^2) with s = patch / 8, but 1e-3 at least, and MONAI's own."""
    utils = pytest.importorskip("monai.data.utils")
    weights = blending_weights(patch)
    places = np.indices(patch) - (np.array(patch).reshape(-1, *[1] * len(patch)) - 1) / 2
    scaled = places / (np.array(patch).reshape(-1, *[1] * len(patch)) / 8)
    expected = np.maximum(np.exp(-0.5 * (scaled**2).sum(0)), 1e-3)
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)
    theirs = utils.compute_importance_map(patch, mode="gaussian", sigma_scale=0.125)
    torch.testing.assert_close(weights, theirs)


def test_4x4_image_by_hand():
    """Tiles 3 by 4 at rows 0 and 1 give 0 and 1; along 3 the Gaussian has weights a, 1, a.

    Along 4 it has c, b, b, c. In the outer columns a c = 0.0003 is below the floor of 0.001.
    """
    out = sliding_window(TileNumber(), torch.zeros(1, 4, 4), patch_size=(3, 4), overlap=0.5)
    a = np.exp(-0.5 * (1 / 0.375) ** 2)  # 0.02857
    c = np.exp(-0.5 * (1.5 / 0.5) ** 2)  # 0.01111
    inner = [0, a / (1 + a), 1 / (1 + a), 1]  # row 1: tile 0 weighs b, tile 1 weighs a b
    outer = [0, 0.001 / (c + 0.001), c / (c + 0.001), 1]
    expected = np.stack([outer, inner, inner, outer], axis=1)
    assert out.shape == (1, 4, 4)
    np.testing.assert_allclose(out[0].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.8])
@pytest.mark.parametrize(
    ("size", "patch"),
    [((9, 7), (4, 3)), ((9, 7, 6), (4, 3, 5)), ((9, 7, 6), (4, 4, 1)), ((3, 9, 2), (4, 4, 4))],
)
def test_pointwise_network_gives_the_pointwise_result(overlap, size, patch):
    image = torch.randn(2, *size, generator=torch.Generator().manual_seed(1))
    out = sliding_window(
        Pointwise(), image, patch_size=patch, overlap=overlap, batch_size=3,
        mirror_axes=range(len(size)),
    )  # fmt: skip
    torch.testing.assert_close(out, Pointwise()(image[None])[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_batch_size_does_not_change_the_result(batch_size):
    image = torch.randn(1, 9, 8, generator=torch.Generator().manual_seed(1))
    kind = {"patch_size": (4, 4), "overlap": 0.5}
    one = sliding_window(conv_network(2), image, **kind)
    many = sliding_window(conv_network(2), image, **kind, batch_size=batch_size)
    torch.testing.assert_close(one, many, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "patch"), [((16, 12), (8, 4)), ((16, 12, 8), (8, 4, 8))])
def test_agrees_with_monai_where_tiles_stand_evenly(size, patch):
    """Sizes at which both rules put the tiles in the same places."""
    inferers = pytest.importorskip("monai.inferers")
    network = conv_network(len(size), 2).eval()
    image = torch.randn(2, *size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        theirs = inferers.sliding_window_inference(
            image[None], patch, 3, network, overlap=0.5, mode="gaussian"
        )[0]
    ours = sliding_window(network, image, patch_size=patch, overlap=0.5, batch_size=3)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "patch"),
    [
        ((17, 13), (8, 4)),
        ((15, 9, 8), (8, 4, 8)),
        ((5, 4, 4), (2, 2, 2)),
        ((9, 4, 1), (6, 1, 1)),
    ],
)
def test_agrees_with_monai_at_any_size_in_steps(size, patch):
    """Sizes at which MONAI's last tile stands closer to the one before than the others."""
    inferers = pytest.importorskip("monai.inferers")
    network = conv_network(len(size)).eval()
    image = torch.randn(1, *size, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        theirs = inferers.sliding_window_inference(
            image[None], patch, 3, network, overlap=0.5, mode="gaussian"
        )[0]
    ours = sliding_window(network, image, patch_size=patch, overlap=0.5, places="steps")
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_one_tile_is_the_network_itself():
    image = torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(1))
    network = conv_network(2)
    out = sliding_window(network, image, patch_size=(6, 6))
    torch.testing.assert_close(out, network(image[None])[0].detach(), rtol=1e-5, atol=1e-6)


def test_small_image_is_padded_with_zeros_and_cropped_back():
    padded, inner = pad_to_patch(torch.ones(1, 2, 5), (5, 4))
    assert padded.shape == (1, 5, 5)
    assert inner == (slice(1, 3), slice(0, 5))  # 3 rows missing: 1 before, 2 after
    assert padded.sum() == padded[:, *inner].sum() == 10
    out = sliding_window(conv_network(2), torch.ones(1, 1, 1), patch_size=(4, 4))
    assert out.shape == (3, 1, 1)


def test_mirroring_averages_logits_of_all_flips():
    """A ramp of 0..3 averages with its flip to 1.5; the other axis changes nothing."""
    image = torch.zeros(1, 4, 3)
    out = sliding_window(Ramp(), image, patch_size=(4, 3), mirror_axes=(0, 1))
    torch.testing.assert_close(out, torch.full((1, 4, 3), 1.5), rtol=1e-6, atol=0)
    other = sliding_window(Ramp(), image, patch_size=(4, 3), mirror_axes=(1,))
    torch.testing.assert_close(other[0, :, 0], torch.arange(4.0), rtol=1e-6, atol=0)


def test_a_network_that_hands_its_input_through_is_safe_to_mirror():
    image = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(1))
    kind = {"patch_size": (4, 4), "mirror_axes": (0, 1)}
    assert torch.allclose(sliding_window(nn.Identity(), image.clone(), **kind), image, atol=1e-6)


def test_network_comes_back_in_its_mode():
    network = nn.Sequential(nn.Dropout(0.9), conv_network(2))
    network[1].eval()
    image = torch.ones(1, 4, 4)
    first = sliding_window(network, image, patch_size=(4, 4))
    assert torch.equal(first, sliding_window(network, image, patch_size=(4, 4)))  # no dropout
    assert network.training
    assert network[0].training
    assert not network[1].training


def test_progress_sums_to_one():
    shares = []
    sliding_window(
        Pointwise(), torch.zeros(1, 9, 9), patch_size=(4, 4), batch_size=3, advance=shares.append
    )
    assert len(shares) > 1
    assert sum(shares) == pytest.approx(1)


def test_patch_of_other_dimension_is_refused():
    with pytest.raises(ValueError, match="patch_size"):
        sliding_window(Pointwise(), torch.zeros(1, 4, 4), patch_size=(4, 4, 4))


def test_bf16_is_accumulated_in_float32():
    image = torch.randn(1, 12, 12, generator=torch.Generator().manual_seed(1))
    exact = sliding_window(conv_network(2), image, patch_size=(8, 8))
    rough = sliding_window(conv_network(2), image, patch_size=(8, 8), precision="bf16-mixed")
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)


def test_float32_is_asked_for_without_autocast():
    with autocast(torch.device("cpu"), "32-true"):
        assert not torch.is_autocast_enabled("cpu")
    with autocast(torch.device("cpu"), "bf16-mixed"):
        assert torch.is_autocast_enabled("cpu")
