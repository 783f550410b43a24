from __future__ import annotations

import math

import pytest
import torch

from medseg.errors import ConfigError
from medseg.postprocess.crf import CRF, refine


def dense_mean_field(probs, image, spacing, crf):
    """Do algorithm 1 of the paper on full matrices, pair by pair."""
    sizes = image.shape[1:]
    axes = [torch.arange(n) * float(mm) for n, mm in zip(sizes, spacing, strict=True)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(sizes)).double()
    grey = image.flatten(1).T.double()
    far = torch.cdist(places, places).square()
    unlike = torch.cdist(grey, grey).square()
    kernels = [
        torch.exp(-far / (2 * crf.appearance_scale**2) - unlike / (2 * crf.intensity_scale**2)),
        torch.exp(-far / (2 * crf.smoothness_scale**2)),
    ]
    scaled = []
    for kernel in kernels:
        kernel.fill_diagonal_(0)
        root = kernel.sum(1).rsqrt()
        scaled.append(root[:, None] * kernel * root)
    total = crf.appearance_weight * scaled[0] + crf.smoothness_weight * scaled[1]
    start = belief = probs.flatten(1).double()
    for _ in range(crf.iterations):
        belief = (start.log() + belief @ total).softmax(0)
    return belief.reshape(probs.shape)


@pytest.mark.parametrize(("sizes", "spacing"), [((5, 4), (1.0, 2.5)), ((3, 4, 2), (1.0, 0.5, 3))])
def test_a_window_as_large_as_the_image_is_the_dense_crf(sizes, spacing):
    torch.manual_seed(0)
    probs = torch.randn(3, *sizes).softmax(0)
    image = torch.randn(2, *sizes)
    crf = CRF(radius=max(sizes), iterations=3, appearance_scale=1.5, intensity_scale=0.8)
    expected = dense_mean_field(probs, image, spacing, crf)
    got = refine(probs, image, spacing, crf)
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(got, probs, atol=0.05)


def test_two_voxels_by_hand():
    probs = torch.tensor([[[0.9, 0.4]], [[0.1, 0.6]]])
    crf = CRF(iterations=1, appearance_weight=2.0, smoothness_weight=0.0)
    out = refine(probs, torch.zeros(1, 1, 2), (1.0, 1.0), crf)
    # one neighbour each, so the normalised kernel is 1: add twice the neighbour's belief
    first = [math.log(0.9) + 2 * 0.4, math.log(0.1) + 2 * 0.6]
    expected = math.exp(first[0]) / sum(math.exp(v) for v in first)
    assert out[0, 0, 0].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_wrong_voxel_is_mended_and_an_edge_of_the_image_kept(ndim):
    image = torch.zeros(1, *(8,) * ndim)
    image[:, 4:] = 5.0
    truth = (image[0] > 0).long()
    probs = torch.full((2, *(8,) * ndim), 0.3)
    probs.scatter_(0, truth[None], 0.7)
    wrong = (1, *(2,) * (ndim - 1))
    probs[(slice(None), *wrong)] = torch.tensor([0.4, 0.6])
    assert probs.argmax(0)[wrong] == 1
    out = refine(probs, image, (1.0,) * ndim)
    assert torch.equal(out.argmax(0), truth)
    torch.testing.assert_close(out.sum(0), torch.ones_like(out[0]))


def test_distance_is_in_mm():
    torch.manual_seed(0)
    probs, image = torch.randn(2, 6, 6).softmax(0), torch.randn(1, 6, 6)
    near = refine(probs, image, (1.0, 1.0))
    far = refine(probs.transpose(1, 2), image.transpose(1, 2), (1.0, 3.0)).transpose(1, 2)
    assert not torch.allclose(near, far, atol=1e-3)
    torch.testing.assert_close(far, refine(probs, image, (3.0, 1.0)))


def test_one_voxel_stays_and_mistakes_are_explained():
    probs = torch.tensor([0.3, 0.7]).view(2, 1, 1)
    torch.testing.assert_close(refine(probs, torch.zeros(1, 1, 1), (1.0, 1.0)), probs)
    with pytest.raises(ValueError, match="one grid"):
        refine(probs, torch.zeros(1, 1, 2), (1.0, 1.0))
    with pytest.raises(ConfigError, match=r"crf\.intensity_scale is 0"):
        CRF(intensity_scale=0)
    with pytest.raises(ConfigError, match=r"crf\.radius is 0"):
        CRF(radius=0)
    with pytest.raises(ConfigError, match=r"crf\.smoothness_weight is -1"):
        CRF(smoothness_weight=-1)
